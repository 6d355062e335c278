#include "runtime/gateway/node_listing.hpp"

#include "config/spelling.hpp"
#include "messages/errc.hpp"
#include "messages/type_ids.hpp"
#include "runtime/gateway/json.hpp"
#include "runtime/gateway/routes.hpp"

#include <caf/local_actor.hpp>
#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>

namespace astra {
namespace {

/// Some 600 nodes, which take a Resource about 5 ms: what else it has to do does not wait for longer.
constexpr std::uint32_t page_bytes = 64 * 1024;

http_response refusal(std::uint16_t status, std::string body) {
  http_response result;
  result.status = status;
  result.body = std::move(body);
  return result;
}

class listing_state {
public:
  static constexpr const char* name = "astra.gateway.nodes";

  listing_state(caf::event_based_actor* self, resource_links links, std::vector<std::vector<std::string>> groups,
                node_listing_request request, http_exchange_ptr exchange)
    : self_(self), links_(std::move(links)), groups_(std::move(groups)), request_(std::move(request)),
      exchange_(std::move(exchange)) {
    query_.set_where(request_.where);
    query_.set_limit_nodes(request_.limit);
    query_.set_limit_bytes(page_bytes);
  }

  caf::behavior make_behavior() {
    exchange_->on_gone([address = self_->address()] {
      if (auto listing = caf::actor_cast<caf::actor>(address))
        caf::anon_send_exit(listing, caf::exit_reason::user_shutdown);
    });
    ask();
    return {
        // The client has taken what there was.
        [this](refresh_atom) { ask(); },
        // The gateway takes no more; what it has begun goes on to its end.
        [](stop_atom) {},
    };
  }

private:
  void ask() {
    if (groups_.empty() || groups_.front().empty()) {
      refuse("no Resource is named in this gateway's file");
      return;
    }
    ask_resource<node_page>(
        self_, links_, groups_.front().front(), node_query{query_}, std::chrono::milliseconds{0},
        [this](const pb::NodePage& page) { on_page(page); }, [this](const caf::error& reason) { on_failure(reason); });
  }

  void on_failure(const caf::error& reason) {
    auto& resources = groups_.front();
    auto text = fmt::format("the Resource at {} does not answer: {}", resources.front(), error_text(reason));
    if (!group_begun_ && resources.size() > 1) {
      resources.erase(resources.begin());
      ask();
      return;
    }
    if (failure_.empty())
      failure_ = text;
    // What others have is listed nevertheless.
    if (!group_begun_ && turn_to_next_group())
      ask();
    else
      cut();
  }

  /// @returns false when there is none.
  bool turn_to_next_group() {
    if (groups_.size() == 1)
      return false;
    groups_.erase(groups_.begin());
    group_begun_ = false;
    query_.clear_after();
    return true;
  }

  void cut() {
    if (!stream_) {
      refuse(failure_ + "; astra status shows what this gateway knew last");
      return;
    }
    spdlog::warn("gateway.listing_cut listed={} reason=\"{}\"", listed_, failure_);
    auto message = fmt::format("{}; the list ends here, after {} nodes, and is not complete", failure_, listed_);
    if (request_.lines)
      stream_->write(error_json("unavailable", message), nullptr);
    stream_.reset(); // Without an end.
    self_->quit();
  }

  void refuse(const std::string& text) {
    auto response = refusal(503, error_json("unavailable", text));
    response.headers.emplace_back("Retry-After", "1");
    exchange_->answer(std::move(response));
    self_->quit();
  }

  void on_page(const pb::NodePage& page) {
    if (!page.problem().empty()) {
      // The first page says so, or none; a label may be known in another group.
      if (turn_to_next_group())
        return ask();
      if (stream_)
        return end();
      if (!failure_.empty())
        return cut();
      exchange_->answer(refusal(400, filter_problem_json(page.problem(), page.problem_column())));
      self_->quit();
      return;
    }
    group_begun_ = true;
    if (!stream_) {
      http_response head;
      head.content_type = request_.lines ? "application/x-ndjson" : "application/json";
      stream_ = exchange_->begin(std::move(head));
      if (!stream_) {
        self_->quit();
        return;
      }
    }
    std::string text;
    if (!request_.lines && listed_ == 0 && !begun_)
      text = "{\"nodes\":[";
    begun_ = true;
    for (auto& node : page.nodes()) {
      if (!request_.lines)
        text += listed_ > 0 ? ",\n" : "\n";
      auto line = node_line(node);
      line.pop_back();
      text += line;
      if (request_.lines)
        text += '\n';
      ++listed_;
    }
    if (query_.count_only())
      more_ += page.matched();
    query_.set_after(page.last());
    if (page.more() && request_.limit != 0 && listed_ >= request_.limit && !query_.count_only()) {
      // How many there are beyond the limit.
      query_.set_count_only(true);
      query_.set_limit_nodes(0);
    } else if (request_.limit != 0 && !query_.count_only()) {
      query_.set_limit_nodes(request_.limit - static_cast<std::uint32_t>(listed_));
    }
    // A page that ended with the limit says only whether there is more here.
    if (!page.more() && request_.limit != 0 && listed_ >= request_.limit) {
      query_.set_count_only(true);
      query_.set_limit_nodes(0);
    }
    if (!page.more() && !turn_to_next_group()) {
      if (!text.empty())
        stream_->write(std::move(text), nullptr);
      return end();
    }
    if (text.empty())
      return ask();
    stream_->write(std::move(text), [address = self_->address()] {
      if (auto listing = caf::actor_cast<caf::actor>(address))
        caf::anon_send(listing, refresh_atom_v);
    });
  }

  void end() {
    if (!failure_.empty())
      return cut();
    stream_->write(request_.lines ? listing_end_line(listed_, more_) : fmt::format("\n],\"more\":{}}}\n", more_),
                   nullptr);
    stream_->end();
    self_->quit();
  }

  caf::event_based_actor* self_;
  const resource_links links_;
  /// Those that are still to be asked.
  std::vector<std::vector<std::string>> groups_;
  /// A page of the first of them came.
  bool group_begun_ = false;
  /// Why not all groups are listed.
  std::string failure_;
  const node_listing_request request_;
  http_exchange_ptr exchange_;
  http_stream_ptr stream_;
  pb::NodeQuery query_;
  bool begun_ = false;
  std::uint64_t listed_ = 0;
  std::uint64_t more_ = 0;
};

} // namespace

std::variant<node_listing_request, std::string> read_node_listing(const std::string& target) {
  auto query = find_query(target);
  if (!query)
    return std::string{"the query has a broken % escape"};
  node_listing_request result;
  for (auto& [name, value] : *query) {
    if (name == "where") {
      result.where = value;
    } else if (name == "format") {
      if (value != "json" && value != "ndjson")
        return fmt::format("format={}: there are json and ndjson", value);
      result.lines = value == "ndjson";
    } else if (name == "limit") {
      auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), result.limit);
      if (error != std::errc{} || end != value.data() + value.size() || result.limit == 0)
        return fmt::format("limit={}: must be a number of nodes, at least 1", value);
    } else {
      auto meant = closest(name, {"where", "format", "limit"});
      return fmt::format("no parameter '{}'{}", name,
                         meant ? fmt::format("; did you mean '{}'?", *meant) : "; there are where, format, limit");
    }
  }
  return result;
}

caf::actor spawn_node_listing(caf::local_actor* parent, resource_links links,
                              std::vector<std::vector<std::string>> groups, node_listing_request request,
                              http_exchange_ptr exchange) {
  return parent->spawn<caf::stateful_actor<listing_state>>(std::move(links), std::move(groups), std::move(request),
                                                           std::move(exchange));
}

} // namespace astra
