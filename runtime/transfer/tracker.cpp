#include "runtime/transfer/tracker.hpp"

#include "config/naming.hpp"
#include "messages/errc.hpp"
#include "messages/ids.hpp"
#include "messages/text.hpp"
#include "p2p/swarm_table.hpp"
#include "runtime/transfer/name_book.hpp"
#include "runtime/transfer/transfer_text.hpp"

#include <caf/actor_cast.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <caf/typed_response_promise.hpp>
#include <spdlog/fmt/fmt.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace astra {
namespace {

using p2p::content_address;
using std::chrono::milliseconds;

constexpr milliseconds tick_interval{1000};
/// Until it has heard of all names and members that there are: those whose tracker it was before dial it again after a
/// pause (tracker_choice), and report once per second.
constexpr milliseconds settling_time{6000};
constexpr milliseconds manifest_wait{5000};
constexpr milliseconds status_age{500};
constexpr auto shares_last = p2p::swarm_table::options{}.share_lasts;
/// Of a text that a member says of itself.
constexpr std::size_t text_max = 512;
/// Of manifests in memory.
constexpr std::size_t manifest_bytes_max = 128 * 1024 * 1024;
/// In one answer.
constexpr std::size_t holders_max = 20'000;
constexpr std::size_t members_max = 20'000;

class tracker_state {
public:
  static constexpr const char* name = "astra.tracker";

  tracker_state(tracker_actor::pointer self, platform& world, std::string process)
    : self_(self), world_(world), process_(std::move(process)), started_(self->clock().now()),
      table_({}, world.seed("tracker")) {}

  ~tracker_state() { world_.withdraw(tracker_service); }

  tracker_actor::behavior_type make_behavior() {
    world_.publish(tracker_service, caf::actor_cast<caf::strong_actor_ptr>(self_));
    tick();
    return {
        [this](const manifest_query& query) { return on_manifest(*query); },
        [this](const swarm_report& report) { return on_report(*report); },
        [this](const name_claim& claim) { return on_claim(*claim); },
        [this](const swarm_query& query) { return on_query(*query); },
        [this](const set_swarm_limit& wish) {
          spdlog::info("tracker.limit bytes_per_s={} origin=\"{}\"", wish->limit().bytes_per_s(), wish->origin());
          learn(wish->limit());
          return on_query(pb::SwarmQuery{});
        },
    };
  }

private:
  using time_point = p2p::swarm_table::time_point;

  struct member {
    pb::SwarmReport report;
    manifest_source source;
    time_point heard;
  };

  struct manifest {
    std::uint64_t total = 0;
    std::map<std::uint64_t, std::string> parts;
    std::size_t bytes = 0;
    time_point used;
  };

  time_point now() const { return self_->clock().now(); }

  void tick() {
    self_->run_delayed(tick_interval, [this] { tick(); });
    table_.expire(now());
    std::erase_if(statuses_, [&](auto& entry) { return now() - entry.second.looked_at >= 10 * tick_interval; });
    std::erase_if(members_,
                  [&](auto& entry) { return now() - entry.second.heard >= p2p::swarm_table::options{}.silence; });
    table_.divide();
  }

  void learn(const pb::SwarmLimit& limit) {
    if (limit.revision() <= limit_.revision())
      return;
    limit_ = limit;
    table_.limit_all(limit_.bytes_per_s() == 0 ? std::nullopt : std::optional{limit_.bytes_per_s()});
    table_.divide();
  }

  // -- reports -----------------------------------------------------------------

  /// What one member says must not fill the answers about all.
  static void clip(pb::SwarmReport& report) {
    for (auto text : {report.mutable_name(), report.mutable_process(), report.mutable_zone(), report.mutable_rack(),
                      report.mutable_machine(), report.mutable_problem()})
      *text = shorten(std::move(*text), text_max);
    report.clear_mapped();
    for (auto& holding : *report.mutable_holdings())
      holding.set_reason(shorten(std::move(*holding.mutable_reason()), text_max));
  }

  caf::result<swarm_answer> on_report(const pb::SwarmReport& report) {
    p2p::swarm_table::member who = report.member();
    auto& known = members_[who];
    if (report.incarnation() < known.report.incarnation())
      return caf::make_error(errc::fenced, "a newer life of node '" + report.name() + "' reports");
    learn(report.limit());
    if (report.leaving()) {
      table_.leave(who);
      members_.erase(who);
      return swarm_answer{};
    }
    known.report = report;
    clip(known.report);
    known.source = caf::actor_cast<manifest_source>(self_->current_sender());
    known.heard = now();
    pb::SwarmAnswer answer;
    for (auto& one : report.names()) {
      auto heard = names_.learn(one);
      // It missed the removal, or means another content by it.
      auto differs = heard == name_book::verdict::removed_elsewhere || heard == name_book::verdict::refused;
      if (differs || heard == name_book::verdict::known)
        // One that it knows may have been published anew, from elsewhere.
        if (auto better = names_.find(one.name(), one.version());
            better && (differs || better->origin() != one.origin()))
          *answer.add_removed() = *better;
    }
    for (auto& holding : report.holdings())
      if (auto address = address_of(holding.address()); address && holding.has_origin() && holding.pieces() > 0)
        keep_manifest(*address, known.source);
    auto told = table_.on_report(who, to_report(report), now());
    for (auto& errand : told.errands)
      *answer.add_errands() = errand_for(who, errand);
    for (auto& peer : told.allowed)
      *answer.add_allowed() = to_pb(peer);
    for (auto& where : told.open)
      *answer.add_open() = to_pb(where);
    for (auto& where : told.ask)
      *answer.add_ask() = to_pb(where);
    for (auto& address : told.relay)
      answer.add_relay(to_bytes(address));
    // Only the tracker of the limit is told what a member goes on with.  When it takes another one's place, shares of
    // that one are still in force, and not all members have come yet.
    if (report.upload_floor() > 0) {
      if (now() - limit_asked_ >= shares_last)
        limit_since_ = now();
      limit_asked_ = now();
    }
    if (told.upload && now() - limit_since_ >= shares_last) {
      answer.set_upload_share(told.upload->first);
      answer.set_share_lasts_ms(static_cast<std::uint64_t>(told.upload->second.count()));
    }
    *answer.mutable_limit() = limit_;
    return swarm_answer{std::move(answer)};
  }

  /// How a content is doing, at most `status_age` old: to look at all its members for each of them would take long.
  struct known_status {
    time_point looked_at;
    std::optional<p2p::swarm_table::status> status;
    std::optional<p2p::swarm_table::member> keeper;
  };

  pb::SwarmErrand errand_for(p2p::swarm_table::member who, const p2p::swarm_table::errand& errand) {
    auto& known = statuses_[errand.address];
    if (!known.status || now() - known.looked_at >= status_age)
      known = {now(), table_.look_at(errand.address), table_.keeper_of(errand.address)};
    auto result = to_pb(errand, known.status);
    // Somebody has to keep its copy, however many there are: when all give up theirs at the same time it is gone.
    if (known.keeper == who)
      result.set_complete(1);
    return result;
  }

  // -- names -------------------------------------------------------------------

  name_grant on_claim(const pb::NameClaim& claim) {
    pb::NameGrant grant;
    if (auto problem = name_problem(claim.name().name()); !problem.empty() || !address_of(claim.name().address())) {
      grant.set_code(to_string(errc::invalid_argument));
      grant.set_reason(problem.empty() ? "no address of a content" : problem);
      return name_grant{std::move(grant)};
    }
    if (now() - started_ < settling_time) {
      grant.set_code(to_string(errc::unreachable));
      grant.set_reason("the tracker has just started and does not know all names yet");
      return name_grant{std::move(grant)};
    }
    *grant.mutable_name() = names_.grant(claim.name());
    spdlog::info("tracker.name tracker={} name={} version={} address={} publisher={}", process_, grant.name().name(),
                 grant.name().version(), hex(grant.name().address()), grant.name().publisher());
    return name_grant{std::move(grant)};
  }

  swarm_page on_query(const pb::SwarmQuery& query) {
    pb::SwarmPage page;
    for (auto& one : names_.list(query.name()))
      *page.add_names() = one;
    *page.mutable_limit() = limit_;
    page.set_settling(now() - started_ < settling_time);
    if (query.names_only())
      return swarm_page{std::move(page)};
    std::size_t holders = 0;
    std::map<content_address, pb::SwarmContent*> rows;
    for (auto& address : table_.contents()) {
      auto status = table_.look_at(address);
      if (!status)
        continue;
      auto& row = *page.add_contents();
      row.set_address(address.bytes.data(), address.bytes.size());
      row.set_complete(static_cast<std::uint32_t>(status->complete));
      row.set_fetching(static_cast<std::uint32_t>(status->fetching));
      row.set_progress(status->progress);
      row.set_missing(status->missing);
      rows[address] = &row;
    }
    for (auto& [id, known] : members_) {
      auto& report = known.report;
      for (auto& holding : report.holdings()) {
        auto address = address_of(holding.address());
        auto row = address ? rows.find(*address) : rows.end();
        if (row == rows.end())
          continue;
        row->second->set_size(std::max(row->second->size(), holding.size()));
        row->second->set_pieces(std::max(row->second->pieces(), holding.pieces()));
        if (++holders > holders_max) {
          page.set_left_out(page.left_out() + 1);
          continue;
        }
        auto& holder = *row->second->add_holders();
        holder.set_node(report.name());
        holder.set_zone(report.zone());
        *holder.mutable_holding() = holding;
        holder.mutable_holding()->clear_have();
        holder.mutable_holding()->clear_address();
        holder.mutable_holding()->clear_dialled();
      }
      if (static_cast<std::size_t>(page.members_size()) >= members_max) {
        page.set_left_out(page.left_out() + 1);
        continue;
      }
      auto& entry = *page.add_members();
      entry.set_member(id);
      entry.set_name(report.name());
      entry.set_process(report.process());
      entry.set_zone(report.zone());
      entry.set_machine(report.machine());
      entry.set_store_used(report.store_used());
      entry.set_store_max(report.store_max());
      entry.set_problem(report.problem());
      entry.set_uplink(report.uplink());
      entry.set_downlink(report.downlink());
      if (report.punches())
        entry.set_reachability(std::string{p2p::to_string(table_.reach_of(id))});
    }
    return swarm_page{std::move(page)};
  }

  // -- manifests ---------------------------------------------------------------

  using part_promise = caf::typed_response_promise<manifest_part>;

  caf::result<manifest_part> on_manifest(const pb::ManifestQuery& query) {
    auto address = address_of(query.address());
    if (!address || query.offset() % manifest_part_max != 0)
      return caf::make_error(errc::invalid_argument, "no address of a content, or no offset of a part");
    if (query.fresh())
      forget(*address);
    if (auto known = manifests_.find(*address); known != manifests_.end())
      if (auto part = known->second.parts.find(query.offset()); part != known->second.parts.end()) {
        known->second.used = now();
        return to_part(known->second.total, part->second);
      }
    auto promise = self_->make_response_promise<manifest_part>();
    auto& waiting = waiting_[std::pair{*address, std::uint64_t{query.offset()}}];
    waiting.push_back(promise);
    if (waiting.size() == 1)
      ask_for(*address, query.offset(), holders_of(*address, self_->current_sender()));
    return promise;
  }

  static manifest_part to_part(std::uint64_t total, const std::string& data) {
    pb::ManifestPart part;
    part.set_total(total);
    part.set_data(data);
    return manifest_part{std::move(part)};
  }

  /// Those that know its manifest: all that hold any of it.  Not always the same first.
  std::vector<manifest_source> holders_of(const content_address& address, const caf::strong_actor_ptr& but) {
    std::vector<manifest_source> result;
    for (auto& [id, known] : members_)
      for (auto& holding : known.report.holdings())
        if (holding.pieces() > 0 && known.source && address_of(holding.address()) == address
            && caf::actor_cast<caf::strong_actor_ptr>(known.source) != but)
          result.push_back(known.source);
    if (!result.empty())
      std::rotate(result.begin(), result.begin() + static_cast<std::ptrdiff_t>(turn_++ % result.size()), result.end());
    return result;
  }

  void ask_for(const content_address& address, std::uint64_t offset, std::vector<manifest_source> whom) {
    if (whom.empty())
      return deliver(address, offset, to_part(0, ""));
    auto source = whom.back();
    whom.pop_back();
    pb::ManifestQuery query;
    query.set_address(address.bytes.data(), address.bytes.size());
    query.set_offset(offset);
    self_->request(source, caf::timespan{manifest_wait}, manifest_query{std::move(query)})
        .then(
            [this, address, offset, whom](const manifest_part& part) mutable {
              if (part->total() == 0 || part->total() > p2p::torrent_bytes_max
                  || part->data().size()
                         != std::min<std::uint64_t>(manifest_part_max, part->total() - std::min(offset, part->total())))
                return ask_for(address, offset, std::move(whom));
              remember(address, offset, *part);
              deliver(address, offset, part);
            },
            [this, address, offset, whom](const caf::error&) mutable { ask_for(address, offset, std::move(whom)); });
  }

  /// What a content with an origin consists of is asked for before somebody wants it: when all nodes that had any of it
  /// are gone the origin has it still, but nobody would know what to read.
  void keep_manifest(const content_address& address, const manifest_source& source) {
    auto known = manifests_.find(address);
    if (known != manifests_.end() && known->second.bytes == known->second.total)
      return;
    std::uint64_t offset = 0;
    while (known != manifests_.end() && known->second.parts.contains(offset))
      offset += manifest_part_max;
    // Not in the place of those that are wanted now.
    if (manifest_bytes_ + manifest_part_max > manifest_bytes_max / 2 || !kept_.insert(address).second)
      return;
    pb::ManifestQuery query;
    query.set_address(address.bytes.data(), address.bytes.size());
    query.set_offset(offset);
    self_->request(source, caf::timespan{manifest_wait}, manifest_query{std::move(query)})
        .then(
            [this, address, offset, source](const manifest_part& part) {
              kept_.erase(address);
              if (part->total() <= offset || part->total() > p2p::torrent_bytes_max
                  || part->data().size() != std::min<std::uint64_t>(manifest_part_max, part->total() - offset))
                return;
              remember(address, offset, *part);
              keep_manifest(address, source);
            },
            [this, address](const caf::error&) { kept_.erase(address); });
  }

  void deliver(const content_address& address, std::uint64_t offset, const manifest_part& part) {
    auto waiting = waiting_.extract(std::pair{address, offset});
    if (!waiting.empty())
      for (auto& promise : waiting.mapped())
        promise.deliver(part);
  }

  void remember(const content_address& address, std::uint64_t offset, const pb::ManifestPart& part) {
    auto& known = manifests_[address];
    if (known.total != part.total()) {
      manifest_bytes_ -= known.bytes;
      known = {};
    }
    known.total = part.total();
    known.used = now();
    auto [place, fresh] = known.parts.emplace(offset, part.data());
    if (fresh) {
      known.bytes += part.data().size();
      manifest_bytes_ += part.data().size();
      if (known.bytes == known.total)
        spdlog::info("tracker.manifest tracker={} content={} bytes={}", process_, p2p::to_string(address).substr(0, 12),
                     known.total);
    }
    while (manifest_bytes_ > manifest_bytes_max && manifests_.size() > 1) {
      auto oldest = std::min_element(manifests_.begin(), manifests_.end(),
                                     [](auto& a, auto& b) { return a.second.used < b.second.used; });
      forget(content_address{oldest->first});
    }
  }

  void forget(const content_address& address) {
    if (auto known = manifests_.find(address); known != manifests_.end()) {
      manifest_bytes_ -= known->second.bytes;
      manifests_.erase(known);
    }
  }

  tracker_actor::pointer self_;
  platform& world_;
  std::string process_;
  time_point started_;
  p2p::swarm_table table_;
  name_book names_;
  std::map<p2p::swarm_table::member, member> members_;
  pb::SwarmLimit limit_;
  /// Since when this tracker divides it, and when somebody asked for a share last.
  time_point limit_since_{};
  time_point limit_asked_{};
  std::map<content_address, known_status> statuses_;
  std::map<content_address, manifest> manifests_;
  std::size_t manifest_bytes_ = 0;
  /// Those of which a part was asked for to be kept.
  std::set<content_address> kept_;
  std::map<std::pair<content_address, std::uint64_t>, std::vector<part_promise>> waiting_;
  std::uint64_t turn_ = 0;
};

} // namespace

tracker_actor spawn_tracker(caf::actor_system& sys, platform& world, const std::string& name) {
  return sys.spawn<tracker_actor::stateful_impl<tracker_state>>(std::ref(world), name);
}

} // namespace astra
