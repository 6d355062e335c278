#include "runtime/gateway/model_desk.hpp"

#include "messages/transfer.hpp"
#include "messages/transfer_protocol.hpp"
#include "messages/type_ids.hpp"
#include "runtime/gateway/model_book.hpp"
#include "runtime/gateway/model_json.hpp"
#include "runtime/gateway/replies.hpp"

#include <caf/local_actor.hpp>
#include <caf/stateful_actor.hpp>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstddef>
#include <functional>
#include <map>
#include <utility>
#include <variant>

namespace astra {
namespace {

using std::chrono::milliseconds;

constexpr auto retry_soon = milliseconds{1000};

/// Nodes that are told at the same time: each may need a connection of its own.
constexpr std::size_t orders_at_once = 128;

/// Nodes that are told that a name is gone, though fewer hold it: the trackers tell all others.
constexpr std::size_t witnesses_least = 2;

class desk_state {
public:
  static constexpr const char* name = "astra.gateway.models";

  desk_state(caf::event_based_actor* self, model_desk_setup setup, model_wish wish, http_exchange_ptr exchange)
    : self_(self), setup_(std::move(setup)), wish_(std::move(wish)), exchange_(std::move(exchange)) {}

  caf::behavior make_behavior() {
    switch (wish_.what) {
    case gateway_route::limit_models:
      limit();
      break;
    case gateway_route::model_job:
    case gateway_route::model_jobs:
      ask_for_jobs();
      break;
    default:
      ask_trackers(wish_.what == gateway_route::model_limit, [this] { begin(); });
    }
    // It ends by itself, soon, also when the gateway takes no more.
    return {[](stop_atom) {}};
  }

private:
  using next_step = std::function<void()>;
  using on_answers = std::function<void(const std::vector<model_answer>&)>;

  struct order {
    std::string node;
    /// Where its process takes sessions; empty: nobody knows.
    std::string process;
    pb::ContentOrder what;
    std::uint64_t bytes = 0;
  };

  void end(http_response response) {
    if (!exchange_)
      return;
    std::exchange(exchange_, nullptr)->answer(std::move(response));
    self_->quit();
  }

  void refuse(const model_refusal& why) {
    if (why.code == "unavailable")
      return end(with_retry_after(refusal(503, why.code, why.message), retry_soon));
    end(refusal(status_of_refusal(why.code), why.code, why.message));
  }

  /// Goes on with what was asked for; answers when there is no such thing.
  template <class T, class Then>
  void with(const model_result<T>& result, Then then) {
    if (auto refused = std::get_if<model_refusal>(&result))
      refuse(*refused);
    else
      then(std::get<T>(result));
  }

  // -- trackers
  // --------------------------------------------------------------------------------------------------------

  /// @param names_only what members hold is not needed.
  void ask_trackers(bool names_only, next_step then) {
    pb::SwarmQuery query;
    query.set_names_only(names_only);
    tell_trackers(swarm_query{std::move(query)}, std::move(then));
  }

  /// Goes on when each tracker has answered, or the time for it is over and one has; answers when none has.
  template <class Message>
  void tell_trackers(const Message& message, next_step then) {
    then_ = std::move(then);
    for (auto& address : setup_.trackers)
      silent_[address] = fmt::format("no answer within {} ms", setup_.tracker_timeout.count());
    if (silent_.empty())
      return refuse({"unavailable", "no Resource is named in this gateway's file, and trackers are beside them"});
    open_ = silent_.size();
    for (auto& one : std::map{silent_}) // An address that is named twice is asked once.
      ask_service<tracker_actor, swarm_page>(
          self_, setup_.links, one.first, tracker_service, message, setup_.tracker_timeout,
          [this, address = one.first](const pb::SwarmPage& page) {
            if (!then_)
              return;
            silent_.erase(address);
            book_.add(page);
            tracker_done();
          },
          [this, address = one.first](const caf::error& reason) {
            if (!then_)
              return;
            silent_[address] = error_text(reason);
            tracker_done();
          });
    self_->run_delayed(setup_.tracker_timeout, [this] { trackers_done(); });
  }

  void tracker_done() {
    if (--open_ == 0)
      trackers_done();
  }

  void trackers_done() {
    auto then = std::exchange(then_, nullptr);
    if (!then)
      return;
    for (auto& [address, reason] : silent_)
      book_.add_silent(address, reason);
    if (!book_.answered())
      return refuse({"unavailable", "no tracker answers: " + book_.why_silent()});
    then();
  }

  // -- orders
  // ----------------------------------------------------------------------------------------------------------

  order order_for(const std::string& node, const pb::ContentName& name, pb::ContentVerb verb) const {
    order result;
    result.node = node;
    if (auto member = book_.member(node))
      result.process = member->process();
    if (auto content = book_.content(name.address()))
      if (auto holder = content->holders.find(node); holder != content->holders.end())
        result.bytes = holder->second.holding().bytes_done();
    result.what.set_verb(verb);
    *result.what.mutable_name() = name;
    result.what.set_pin(wish_.pin);
    result.what.set_priority(wish_.priority);
    result.what.set_origin(setup_.origin);
    return result;
  }

  std::vector<order> orders_for(const std::vector<std::string>& nodes, const pb::ContentName& name,
                                pb::ContentVerb verb) const {
    std::vector<order> result;
    for (auto& node : nodes)
      result.push_back(order_for(node, name, verb));
    return result;
  }

  /// Goes on when each node has answered or failed to; the answers are in the order of the orders.
  void send(std::vector<order> orders, on_answers then) {
    orders_ = std::move(orders);
    answers_.resize(orders_.size());
    open_ = orders_.size();
    next_ = 0;
    on_answers_ = std::move(then);
    while (next_ < std::min(orders_at_once, orders_.size()))
      send_next();
  }

  void send_next() {
    auto place = next_++;
    auto& one = orders_[place];
    answers_[place].node = one.node;
    answers_[place].bytes = one.bytes;
    if (one.process.empty()) {
      // Not at once: the others are still to be sent.
      self_->run_delayed(milliseconds{0},
                         [this, place] { on_problem(place, "no tracker knows where its process is"); });
      return;
    }
    spdlog::debug("gateway.content_order node={} address={} verb={} content={}@{}", one.node, one.process,
                  static_cast<int>(one.what.verb()), one.what.name().name(), one.what.name().version());
    ask_service<content_keeper_actor, content_reply>(
        self_, setup_.links, one.process, content_service(one.node), content_order{one.what},
        setup_.links.answer_timeout,
        [this, place](const pb::ContentReply& reply) {
          answers_[place].reply = reply;
          order_done();
        },
        [this, place](const caf::error& reason) { on_problem(place, "it does not answer: " + error_text(reason)); });
  }

  void on_problem(std::size_t place, std::string problem) {
    answers_[place].problem = std::move(problem);
    order_done();
  }

  void order_done() {
    if (next_ < orders_.size())
      send_next();
    if (--open_ == 0)
      std::exchange(on_answers_, nullptr)(answers_);
  }

  /// Answers that nobody does it, when that is so.  @returns whether somebody does.
  bool any_accepted(std::string_view what, const std::vector<model_answer>& answers) {
    constexpr std::size_t told_max = 5;
    std::string text;
    std::size_t told = 0;
    for (auto& answer : answers) {
      if (answer.accepted())
        return true;
      if (++told <= told_max)
        text += fmt::format("; node '{}': {}", answer.node, answer.reason());
    }
    if (told > told_max)
      text += fmt::format("; and {} more", told - told_max);
    refuse({answers.front().code(), fmt::format("no node {}{}", what, text)});
    return false;
  }

  // -- what is asked for
  // -----------------------------------------------------------------------------------------------

  void begin() {
    switch (wish_.what) {
    case gateway_route::models:
      return end(reply(200, models_json(book_)));
    case gateway_route::model:
      return show();
    case gateway_route::model_nodes:
      return end(reply(200, model_nodes_json(book_)));
    case gateway_route::model_limit:
      return end(reply(200, model_limit_json(book_)));
    case gateway_route::publish_model:
      return publish();
    case gateway_route::fetch_model:
      return with(book_.find(wish_.content), [this](const pb::ContentName& name) {
        with(book_.fetchers(wish_.nodes, name), [this, &name](const std::vector<std::string>& nodes) {
          order_jobs(nodes, name, pb::CONTENT_FETCH, "begins to fetch it");
        });
      });
    case gateway_route::verify_model:
      return with_holders([this](const pb::ContentName& name, const std::vector<std::string>& nodes) {
        order_jobs(nodes, name, pb::CONTENT_VERIFY, "begins to verify it");
      });
    case gateway_route::pin_model:
      return with_holders([this](const pb::ContentName& name, const std::vector<std::string>& nodes) {
        send(orders_for(nodes, name, wish_.pin ? pb::CONTENT_PIN : pb::CONTENT_UNPIN),
             [this, name](const std::vector<model_answer>& answers) {
               if (any_accepted(wish_.pin ? "pins it" : "unpins it", answers))
                 end(reply(200, model_order_json(name, answers)));
             });
      });
    case gateway_route::delete_model:
      return remove();
    default:
      return refuse({"invalid_argument", "this path is not about models"});
    }
  }

  void show() {
    auto one = [this](const pb::ContentName& name) { end(reply(200, model_json(book_, name.name(), {name}))); };
    if (wish_.content.version != 0)
      return with(book_.find(wish_.content), one);
    with(book_.versions(wish_.content.name), [this](const std::vector<pb::ContentName>& versions) {
      end(reply(200, model_json(book_, wish_.content.name, versions)));
    });
  }

  template <class Then>
  void with_holders(Then then) {
    with(book_.find(wish_.content), [this, then](const pb::ContentName& name) {
      with(book_.holders(wish_.nodes, name), [&](const std::vector<std::string>& nodes) { then(name, nodes); });
    });
  }

  void order_jobs(const std::vector<std::string>& nodes, const pb::ContentName& name, pb::ContentVerb verb,
                  std::string what) {
    send(orders_for(nodes, name, verb), [this, name, what](const std::vector<model_answer>& answers) {
      if (any_accepted(what, answers))
        end(reply(202, model_order_json(name, answers)));
    });
  }

  void publish() {
    with(book_.publisher(wish_), [this](const pb::SwarmMember& member) {
      pb::ContentName name;
      name.set_name(wish_.content.name);
      name.set_origin(wish_.origin);
      auto one = order_for(member.name(), name, pb::CONTENT_PUBLISH);
      one.what.set_path(wish_.path);
      send({std::move(one)}, [this](const std::vector<model_answer>& answers) {
        auto& told = answers.front();
        if (!told.accepted())
          return refuse({told.code(), fmt::format("node '{}' does not publish it: {}", told.node, told.reason())});
        auto response = reply(202, model_publishing_json(told.node, told.reply->job()));
        response.headers.emplace_back(
            "Location", "/v1/model-jobs/" + to_string(model_job_name{told.node, told.reply->job().id(), {}}));
        end(std::move(response));
      });
    });
  }

  void remove() {
    with(book_.find(wish_.content), [this](const pb::ContentName& name) {
      auto nodes = book_.witnesses(name, witnesses_least);
      if (nodes.empty())
        return refuse({"conflict", "no node of the cluster keeps models, so none can pass on that the name is gone"});
      send(orders_for(nodes, name, pb::CONTENT_REMOVE), [this, name](const std::vector<model_answer>& answers) {
        if (!any_accepted("forgets it", answers))
          return;
        auto holders = answers;
        auto content = book_.content(name.address());
        std::erase_if(holders, [&](auto& one) { return content == nullptr || !content->holders.contains(one.node); });
        end(reply(200, model_removal_json(name, holders)));
      });
    });
  }

  void limit() { limit(static_cast<std::uint64_t>(setup_.wall_time.count()), true); }

  void limit(std::uint64_t revision, bool again) {
    pb::SetSwarmLimit wish;
    wish.mutable_limit()->set_bytes_per_s(wish_.bytes_per_s);
    wish.mutable_limit()->set_revision(revision);
    wish.set_origin(setup_.origin);
    tell_trackers(set_swarm_limit{std::move(wish)}, [this, again] {
      if (book_.limit().bytes_per_s() == wish_.bytes_per_s)
        return end(reply(200, model_limit_json(book_)));
      // The one before was set by a clock that is ahead.
      if (again)
        return limit(book_.limit().revision() + 1, false);
      refuse({"conflict", fmt::format("a limit of {} bytes per second was set at the same time as this one",
                                      book_.limit().bytes_per_s())});
    });
  }

  // -- jobs
  // ------------------------------------------------------------------------------------------------------------

  void ask_for_jobs() {
    auto known = std::all_of(wish_.jobs.begin(), wish_.jobs.end(), [](auto& job) { return !job.process.empty(); });
    if (known)
      return ask_nodes_for_jobs();
    ask_trackers(false, [this] {
      for (auto& job : wish_.jobs)
        if (auto member = book_.member(job.node); member != nullptr && job.process.empty())
          job.process = member->process();
      ask_nodes_for_jobs();
    });
  }

  void ask_nodes_for_jobs() {
    std::vector<order> orders;
    for (auto& job : wish_.jobs) {
      order one;
      one.node = job.node;
      one.process = job.process;
      one.what.set_verb(pb::CONTENT_JOB);
      one.what.set_job(job.id);
      one.what.set_origin(setup_.origin);
      orders.push_back(std::move(one));
    }
    send(std::move(orders), [this](const std::vector<model_answer>& answers) {
      if (wish_.what == gateway_route::model_jobs)
        return end(reply(200, model_jobs_json(wish_.jobs, answers)));
      auto& told = answers.front();
      if (!told.accepted())
        return refuse({told.code(), fmt::format("node '{}' tells nothing of job {}: {}", told.node,
                                                to_string(wish_.jobs.front()), told.reason())});
      end(reply(200, model_job_json(wish_.jobs.front(), told.reply->job())));
    });
  }

  caf::event_based_actor* self_;
  const model_desk_setup setup_;
  model_wish wish_;
  /// Null: answered.
  http_exchange_ptr exchange_;
  model_book book_;
  /// Trackers that have not answered, and why not.
  std::map<std::string, std::string> silent_;
  /// What comes when the trackers have answered; null: nothing, or it has come.
  next_step then_;
  std::vector<order> orders_;
  std::vector<model_answer> answers_;
  on_answers on_answers_;
  /// Index of the order that is sent next.
  std::size_t next_ = 0;
  /// Questions without an answer.
  std::size_t open_ = 0;
};

} // namespace

caf::actor spawn_model_desk(caf::local_actor* parent, model_desk_setup setup, model_wish wish,
                            http_exchange_ptr exchange) {
  return parent->spawn<caf::stateful_actor<desk_state>>(std::move(setup), std::move(wish), std::move(exchange));
}

} // namespace astra
