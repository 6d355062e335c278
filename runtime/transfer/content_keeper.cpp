#include "runtime/transfer/content_keeper.hpp"

#include "config/naming.hpp"
#include "messages/errc.hpp"
#include "messages/ids.hpp"
#include "p2p/limits.hpp"
#include "p2p/link_meter.hpp"
#include "runtime/transfer/content_entry.hpp"
#include "runtime/transfer/fetch_text.hpp"
#include "runtime/transfer/job_book.hpp"
#include "runtime/transfer/name_book.hpp"
#include "runtime/transfer/origin_plan.hpp"
#include "runtime/transfer/origin_url.hpp"
#include "runtime/transfer/read_plan.hpp"
#include "runtime/transfer/tracker_choice.hpp"
#include "runtime/transfer/transfer_text.hpp"

#include <caf/actor_cast.hpp>
#include <caf/sec.hpp>
#include <caf/send.hpp>
#include <caf/telemetry/counter.hpp>
#include <caf/telemetry/gauge.hpp>
#include <caf/telemetry/metric_registry.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <caf/typed_response_promise.hpp>
#include <spdlog/fmt/fmt.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace astra {
namespace {

using p2p::content_address;
using p2p::content_state;
using p2p::content_store;
using p2p::swarm_table;
using std::chrono::milliseconds;
using verdict = name_book::verdict;

constexpr milliseconds tick_interval{1000};
/// While something is fetched its progress is looked at this often.
constexpr milliseconds look_interval{250};
/// News is told to the trackers after this, not with the next second.
constexpr milliseconds news_delay{20};
constexpr milliseconds dial_timeout{2000};
constexpr milliseconds answer_timeout{2000};
/// Until an engine has let go of the files of what was taken from it.
constexpr milliseconds settle_time{500};
/// A store that cannot be opened, and whatever else failed, is tried again after this.
constexpr milliseconds retry_interval{5000};
/// Until a tracker that has not answered with holders is asked again.
constexpr milliseconds manifest_retry{1000};
constexpr milliseconds name_retry{2000};
/// Of a manifest so much is asked for without a pause, then a part after each pause.
constexpr std::size_t manifest_burst = 64 * manifest_part_max;
constexpr milliseconds manifest_pause{25};
/// A holder that has not asked for this long is gone.
constexpr milliseconds holder_silence{60'000};
/// What a tracker has not named for this long may not take part any more.
constexpr milliseconds allowed_lasts{6'000};
/// Who has told where it sees this node is asked again after this, so that the NAT does not forget; who is not named
/// any more to be asked counts for so long.
constexpr milliseconds witness_again{15'000};
constexpr milliseconds witness_lasts{60'000};
/// What no tracker has asked to be passed on for this long is given up again.
constexpr milliseconds relay_lasts{60'000};
/// What was used so recently is not given up for something else.
constexpr milliseconds in_use_for{60'000};
/// After a request others are expected for so long.
constexpr milliseconds busy_lasts{5'000};
/// Who reads what is not here yet hears so after this, and asks again; so whoever is gone is forgotten.
constexpr milliseconds read_patience{5'000};
/// Of a report's holdings; it has to fit the edge's frames.
constexpr std::size_t holdings_bytes_max = 40 * 1024;
constexpr std::size_t names_bytes_max = 12 * 1024;
/// What a node would send if nothing limited it.
constexpr std::uint64_t unlimited_bytes_per_s = 1'250'000'000;
/// An origin is read for no longer, whatever a tracker says, and after it could not be it is tried again after this,
/// and twice that each time.
constexpr milliseconds lease_max{10'000};
constexpr milliseconds origin_pause{2'000};
constexpr const char* limit_key = "swarm-limit";

std::string short_hex(const content_address& address) {
  return to_string(address).substr(0, 12);
}

/// What is counted for those who watch it.
class keeper_metrics {
public:
  explicit keeper_metrics(caf::telemetry::metric_registry& registry) {
    auto gauge = [&](caf::string_view what, caf::string_view help, caf::string_view unit = "1") {
      return registry.gauge_singleton("astra.contents", what, help, unit);
    };
    auto counter = [&](caf::string_view what, caf::string_view help, caf::string_view unit = "1") {
      return registry.counter_singleton("astra.contents", what, help, unit, true);
    };
    ready = gauge("ready", "Contents that are whole and shown to apps.");
    fetching = gauge("fetching", "Contents that are being fetched.");
    stored = gauge("stored", "Of all contents in the store, as they will be when they are whole.", "bytes");
    received = counter("received", "From other nodes, without headers.", "bytes");
    sent = counter("sent", "To other nodes, without headers.", "bytes");
    from_origins = counter("from-origins", "From origins, outside of the cluster.", "bytes");
    uplink =
        gauge("uplink", "What the link has carried to other nodes at its best, per second; 0: not known.", "bytes");
    downlink = gauge("downlink", "The same, from other nodes.", "bytes");
    wasted = counter("wasted", "Received twice, or with a wrong hash.", "bytes");
    refused = counter("peers-refused", "Connections of peers that no tracker had named.");
  }

  caf::telemetry::int_gauge* ready;
  caf::telemetry::int_gauge* fetching;
  caf::telemetry::int_gauge* stored;
  caf::telemetry::int_gauge* uplink;
  caf::telemetry::int_gauge* downlink;
  caf::telemetry::int_counter* received;
  caf::telemetry::int_counter* sent;
  caf::telemetry::int_counter* from_origins;
  caf::telemetry::int_counter* wasted;
  caf::telemetry::int_counter* refused;
};

class content_keeper_state {
public:
  static constexpr const char* name = "astra.contents";

  content_keeper_state(content_keeper_actor::pointer self, platform& world, const node_options& node,
                       const store_options& options, std::shared_ptr<content_port> port)
    : self_(self), world_(world), node_(node), options_(options), port_(std::move(port)), id_(make_node_id(node.name)),
      incarnation_(world.next_incarnation()), choice_(node.resources), lease_(options.upload_floor_bytes_per_s),
      uplink_(options.link_share), downlink_(options.link_share), metrics_(self->system().metrics()), jobs_(node.name) {
  }

  ~content_keeper_state() {
    stop_.request_stop();
    world_.withdraw(content_service(node_.name));
    pb::SwarmReport goodbye;
    describe(goodbye);
    goodbye.set_leaving(true);
    for (auto& [address, link] : links_)
      if (link.tracker)
        caf::anon_send(link.tracker, swarm_report{goodbye});
    port_->close();
  }

  content_keeper_actor::behavior_type make_behavior() {
    // A request to a tracker whose session is gone is never answered, not even with an error.
    self_->set_down_handler([this](const caf::down_msg& event) {
      for (auto& [address, link] : links_)
        if (link.tracker && link.tracker.address() == event.source)
          return lost(address, "connection closed");
    });
    world_.publish(content_service(node_.name), caf::actor_cast<caf::strong_actor_ptr>(self_));
    open();
    tick();
    look();
    return {
        [this](const manifest_query& query) { return on_manifest(*query); },
        [this](const hold_content& wish) { return on_hold(wish); },
        [this](const release_contents& wish) { on_release(wish.holder); },
        [this](const prefetch_contents& wish) { on_prefetch(wish); },
        [this](const read_content& wish) { return on_read(wish); },
        [this](report_atom, std::uint32_t running) {
          running_ = running;
          if (running_ > 0)
            busy_until_ = now() + busy_lasts;
          return ready_names();
        },
        [this](const content_order& order) { return on_order(*order); },
        [this](refresh_atom) { drain(); },
    };
  }

private:
  using time_point = std::chrono::steady_clock::time_point;
  using member = swarm_table::member;

  using entry = content_entry;
  using job = job_book::job_ptr;

  struct tracker_link {
    swarm_desk tracker;
    bool dialing = false;
    bool asking = false;
    /// When; what an answer allows counts from then on.
    time_point asked{};
    /// Of the names for it, the one to begin with.
    std::size_t next_name = 0;
  };

  time_point now() const { return self_->clock().now(); }

  // -- store and engine ----------------------------------------------------------

  void open() {
    auto weak = caf::actor_cast<caf::actor_addr>(self_);
    auto opened = port_->open([weak] {
      if (auto alive = caf::actor_cast<caf::strong_actor_ptr>(weak))
        caf::anon_send(caf::actor_cast<content_keeper_actor>(alive), refresh_atom_v);
    });
    if (!opened) {
      if (problem_ != opened.problem().text)
        spdlog::error("contents.no_store node={} reason=\"{}\"", node_.name, opened.problem().text);
      problem_ = opened.problem().text;
      self_->run_delayed(retry_interval, [this] { open(); });
      return;
    }
    problem_.clear();
    struct found {
      p2p::stored_content what;
      std::shared_ptr<const p2p::content> manifest;
      std::string path;
    };
    port_->run([this](content_store& store) -> content_port::aftermath {
      auto contents = std::make_shared<std::vector<found>>();
      for (auto& one : store.list()) {
        auto manifest = store.manifest(one.address);
        contents->push_back({one, manifest ? std::make_shared<const p2p::content>(std::move(*manifest)) : nullptr,
                             store.visible(one.address).string()});
      }
      return [this, contents, notes = store.notes(), used = store.bytes()] {
        pb::KeeperNotes remembered;
        if (decode(remembered, notes)) {
          for (auto& one : remembered.names())
            names_.learn(one);
          limit_ = remembered.limit();
        }
        store_used_ = used;
        for (auto& one : *contents)
          take_over(one.what, one.manifest, one.path);
        open_ = true;
        report_soon();
        spdlog::info("contents.open node={} contents={} bytes={}", node_.name, contents->size(), store_used_);
      };
    });
  }

  void take_over(const p2p::stored_content& what, std::shared_ptr<const p2p::content> manifest, std::string path) {
    auto& one = entry_of(what.address);
    one.state = what.state;
    one.size = what.size;
    one.pinned = what.pinned;
    one.path = std::move(path);
    one.what = std::move(manifest);
    one.reason = what.reason;
    switch (what.state) {
    case content_state::ready:
      serve(one);
      break;
    case content_state::verifying:
      verify(one, nullptr);
      break;
    case content_state::fetching:
      // Without a name it was for others: who orders it, or needs it here, knows one.
      if (names_.names_of(to_bytes(what.address)).empty())
        one.relayed = now();
      [[fallthrough]];
    case content_state::condemned:
      one.wanted = true;
      go_on(one);
      break;
    case content_state::absent:
      break;
    }
  }

  entry& entry_of(const content_address& address) { return entries_.try_emplace(address, address).first->second; }

  entry* find(const content_address& address) {
    auto found = entries_.find(address);
    return found == entries_.end() ? nullptr : &found->second;
  }

  /// Has the store work for an entry that may be gone when it is done.
  template <class Work, class Then>
  void work_for(entry& one, Work work, Then then) {
    ++one.busy;
    port_->run([this, address = one.address, work = std::move(work), then = std::move(then)](content_store& store) {
      auto result = std::make_shared<decltype(work(store))>(work(store));
      return content_port::aftermath{[this, address, result, then, used = store.bytes()] {
        store_used_ = used;
        if (auto known = find(address)) {
          --known->busy;
          then(*known, *result);
        }
      }};
    });
  }

  /// Has the store work where nobody waits for what comes of it.
  void just(std::function<void(content_store&)> work) {
    port_->run([work = std::move(work)](content_store& store) -> content_port::aftermath {
      work(store);
      return [] {};
    });
  }

  void drain() {
    if (!problem_.empty() && !open_)
      return;
    for (auto& then : port_->drain())
      then();
    for (auto& event : port_->engine().drain())
      std::visit([this](auto& what) { on(what); }, event);
    drain_origins();
  }

  void add_to_engine(entry& one, p2p::add_request request) {
    request.what = one.what;
    one.place = (request.place / one.what->name).string();
    if (auto readers = readers_.find(one.address); readers != readers_.end())
      readers->second.plan.engine_is_new();
    one.in_engine = true;
    one.known = request.complete;
    one.have.assign(one.what->piece_hashes.size(), request.complete);
    one.count_bytes();
    one.downloaded = one.uploaded = one.wasted = 0;
    one.dialled.clear();
    one.preferred.reset();
    if (options_.order == "shuffled")
      request.shuffled_by = id_.value() ^ one.address.bytes[0];
    port_->engine().add(std::move(request));
  }

  void take_from_engine(entry& one) {
    if (one.in_engine)
      port_->engine().remove(one.address);
    stop_origin(one);
    one.leave_engine();
  }

  void serve(entry& one) {
    if (!one.what || one.in_engine)
      return;
    work_for(
        one, [address = one.address](content_store& store) { return store.place(address); },
        [this](entry& known, const std::filesystem::path& place) {
          if (known.in_engine || known.state != content_state::ready)
            return;
          p2p::add_request request;
          request.place = place;
          request.complete = true;
          add_to_engine(known, std::move(request));
        });
  }

  // -- fetching --------------------------------------------------------------------

  void want(entry& one) {
    one.relayed.reset();
    if (one.state == content_state::ready || one.wanted)
      return;
    one.wanted = true;
    one.reason.clear();
    go_on(one);
  }

  /// Takes the next step towards a content that is wanted.
  void go_on(entry& one) {
    if (!open_ && !problem_.empty())
      return;
    if (!one.wanted || one.busy || one.in_engine || one.state == content_state::ready || now() < one.retry_at)
      return;
    if (!one.what)
      ask_for_manifest(one);
    else
      prepare(one);
  }

  void wait(entry& one, std::string reason, milliseconds pause) {
    // People know its name.
    if (auto at = reason.find("content " + to_string(one.address)); at != std::string::npos)
      reason.replace(at, std::string_view{"content "}.size() + to_string(one.address).size(), name_of(one.address));
    if (one.reason != reason)
      spdlog::info("contents.wait node={} content={} reason=\"{}\"", node_.name, short_hex(one.address), reason);
    one.reason = std::move(reason);
    one.retry_at = now() + pause;
  }

  void ask_for_manifest(entry& one) {
    auto link = link_for(to_string(one.address));
    if (!link)
      return wait(one, "no tracker answers (they are beside the Resources)", manifest_retry);
    ++one.busy;
    pb::ManifestQuery query;
    query.set_address(to_bytes(one.address));
    query.set_offset(one.manifest.size());
    query.set_fresh(std::exchange(one.fresh_manifest, false));
    self_->request(link->tracker, caf::timespan{4 * answer_timeout}, manifest_query{std::move(query)})
        .then(
            [this, content = one.address](const manifest_part& part) {
              if (auto known = find(content)) {
                --known->busy;
                on_part(*known, *part);
              }
            },
            [this, content = one.address](const caf::error& reason) {
              if (auto known = find(content)) {
                --known->busy;
                wait(*known, "the tracker does not tell what it consists of: " + error_text(reason), manifest_retry);
              }
            });
  }

  void on_part(entry& one, const pb::ManifestPart& part) {
    if (part.total() == 0 || part.total() > p2p::torrent_bytes_max
        || part.data().size() != std::min<std::uint64_t>(manifest_part_max, part.total() - one.manifest.size())) {
      one.manifest.clear();
      return wait(one, "no node that has it answers", manifest_retry);
    }
    one.manifest += part.data();
    if (one.manifest.size() < part.total()) {
      // A node that asks too often loses its session.
      one.retry_at = now() + (one.manifest.size() > manifest_burst ? manifest_pause : milliseconds{0});
      self_->run_delayed(one.retry_at - now(), [this, address = one.address] {
        if (auto known = find(address))
          go_on(*known);
      });
      return;
    }
    auto torrent = std::make_shared<std::string>(std::exchange(one.manifest, {}));
    work_for(
        one, [torrent](content_store&) { return p2p::read_content(*torrent); },
        [this](entry& known, p2p::outcome<p2p::content>& read) {
          if (!read || read->address != known.address) {
            known.fresh_manifest = true;
            return wait(known,
                        "what it consists of was told wrongly: "
                            + (read ? std::string{"another content"} : read.problem().text),
                        manifest_retry);
          }
          known.what = std::make_shared<const p2p::content>(std::move(*read));
          known.size = known.what->size;
          go_on(known);
        });
  }

  /// Makes room for a content that is not there at all.  @returns what went for it.
  static p2p::outcome<std::vector<content_address>> room_for(content_store& store, const p2p::content& what,
                                                             const std::set<content_address>& keep,
                                                             content_store::time_point at) {
    if (store.state(what.address) != content_state::absent)
      return std::vector<content_address>{};
    return store.make_room(what.size - store.shared_bytes(what), keep, at - in_use_for);
  }

  struct prepared {
    p2p::done result = p2p::nothing{};
    std::filesystem::path place;
    /// Where apps will find the files.
    std::string path;
    std::vector<bool> good;
    std::vector<char> resume;
    std::vector<p2p::block_run> blocks;
    std::vector<content_address> evicted;
  };

  void prepare(entry& one) {
    auto keep = last_copies();
    // What nobody here needs yet takes the place of nothing.
    if (one.how() == p2p::urgency::low)
      for (auto& [address, other] : entries_)
        keep.insert(address);
    work_for(
        one,
        [what = one.what, keep = std::move(keep), at = port_->wall_time(), pinned = one.pinned](content_store& store) {
          prepared result;
          auto room = room_for(store, *what, keep, at);
          if (!room) {
            result.result = room.problem();
            return result;
          }
          result.evicted = std::move(*room);
          result.result = store.fetch(*what, at);
          if (result.result && pinned)
            result.result = store.pin(what->address, true);
          result.place = store.place(what->address);
          result.path = store.visible(what->address).string();
          // What an engine has fetched since is in its resume data only.
          result.resume = store.resume(what->address);
          if (result.resume.empty())
            result.good = store.good_pieces(what->address);
          result.blocks = store.noted_blocks(what->address);
          return result;
        },
        [this](entry& known, prepared& how) {
          for (auto& gone : how.evicted)
            on_evicted(gone, "to make room for " + name_of(known.address));
          if (!how.result)
            return wait(known, how.result.problem().text, retry_interval);
          if (!known.wanted)
            return;
          known.state = content_state::fetching;
          known.reason.clear();
          known.path = how.path;
          p2p::add_request request;
          request.place = how.place;
          request.good_pieces = std::move(how.good);
          request.resume = std::move(how.resume);
          request.blocks = std::move(how.blocks);
          add_to_engine(known, std::move(request));
          spdlog::info("contents.fetch node={} content={} name={} bytes={}", node_.name, to_string(known.address),
                       name_of(known.address), known.size);
        });
  }

  /// What must not go for something else: nobody else has to keep it, or somebody here is about to use it.
  std::set<content_address> last_copies() const {
    std::set<content_address> result;
    for (auto& [address, one] : entries_)
      if (one.state == content_state::ready
          && (!one.holders.empty() || (one.complete <= 1 && !names_.names_of(to_bytes(address)).empty())))
        result.insert(address);
    for (auto& [id, job] : jobs_.all())
      if (auto address = address_of(job->told.name().address()); address && job->running())
        result.insert(*address);
    return result;
  }

  void on_evicted(const content_address& address, const std::string& why) {
    auto one = find(address);
    if (!one)
      return;
    spdlog::info("contents.evict node={} content={} name={} reason=\"{}\"", node_.name, to_string(address),
                 name_of(address), why);
    take_from_engine(*one);
    if (one->held)
      just([address](content_store& store) { store.release(address); });
    entries_.erase(address);
  }

  void finish(entry& one) {
    if (one.state == content_state::ready || one.busy)
      return;
    work_for(
        one,
        [address = one.address, at = port_->wall_time()](content_store& store) {
          return std::pair{store.make_ready(address, at), store.visible(address).string()};
        },
        [this](entry& known, std::pair<p2p::done, std::string>& how) {
          if (!how.first) {
            // Verifying says what is wrong, and fetches it again.
            spdlog::warn("contents.unfit node={} content={} reason=\"{}\"", node_.name, short_hex(known.address),
                         how.first.problem().text);
            return verify(known, nullptr);
          }
          become_ready(known, how.second);
        });
  }

  void become_ready(entry& one, std::string path) {
    one.state = content_state::ready;
    one.path = std::move(path);
    one.wanted = false;
    one.reason.clear();
    one.download.reset();
    report_soon();
    spdlog::info("contents.ready node={} content={} name={} bytes={}", node_.name, to_string(one.address),
                 name_of(one.address), one.size);
    attend(one);
    if (one.doomed)
      evict(one);
    else if (!one.in_engine)
      serve(one);
  }

  /// Hashes everything; what is damaged is fetched again.
  void verify(entry& one, job whose) {
    if (one.busy) {
      one.doubtful = true;
      return;
    }
    one.reason = "is being verified";
    one.doubtful = false;
    auto meter = whose ? whose->meter : std::make_shared<work_meter>();
    work_for(
        one,
        [address = one.address, at = port_->wall_time(), control = control_of(meter)](content_store& store) {
          return std::pair{store.verify(address, at, control), store.visible(address).string()};
        },
        [this, whose](entry& known, std::pair<p2p::outcome<p2p::verification>, std::string>& how) {
          auto& [result, path] = how;
          known.reason.clear();
          if (result && result->whole()) {
            if (whose)
              whose->end(pb::JOB_DONE, "whole");
            return become_ready(known, path);
          }
          auto text = result ? result->text() : result.problem().text;
          if (whose)
            whose->end(pb::JOB_FAILED, result ? text + "; it is fetched again" : text);
          if (!result) {
            known.doubtful = true;
            return wait(known, text, retry_interval);
          }
          doubt_others(known, *result);
          spdlog::warn("contents.damaged node={} content={} name={} reason=\"{}\"", node_.name,
                       to_string(known.address), name_of(known.address), text);
          known.state = content_state::condemned;
          known.reason = text;
          take_from_engine(known);
          known.wanted = true;
          go_on(known);
        });
  }

  /// Contents may have files in common: those of others that are damaged here are to be looked at, too.
  void doubt_others(const entry& damaged, const p2p::verification& found) {
    std::set<p2p::digest> roots;
    for (auto& file : damaged.what->files)
      if (std::any_of(found.damaged.begin(), found.damaged.end(), [&](auto& one) { return one.path == file.path; }))
        roots.insert(file.root);
    for (auto& [address, one] : entries_)
      if (&one != &damaged && one.what && one.state == content_state::ready)
        one.doubtful = one.doubtful || std::any_of(one.what->files.begin(), one.what->files.end(), [&](auto& file) {
                         return file.size > 0 && roots.count(file.root) > 0;
                       });
  }

  p2p::work_control control_of(const std::shared_ptr<work_meter>& meter) const {
    p2p::work_control control;
    control.progress = [meter](std::uint64_t done, std::uint64_t total) {
      meter->total = total;
      meter->done = done;
    };
    control.stop = stop_.get_token();
    return control;
  }

  /// Forgets its files, if nobody needs them.
  void evict(entry& one) {
    // It has got another name since.
    if (!names_.names_of(to_bytes(one.address)).empty()) {
      one.doomed = false;
      return;
    }
    one.doomed = true;
    if (one.busy > 0 || !one.holders.empty())
      return;
    one.wanted = false;
    // From now on it is not here: whoever wants it gets it anew.
    auto before = std::exchange(one.state, content_state::absent);
    take_from_engine(one);
    work_for(
        one,
        [address = one.address](content_store& store) {
          if (store.state(address) == content_state::absent)
            return p2p::done{p2p::nothing{}};
          if (auto unpinned = store.pin(address, false); !unpinned)
            return unpinned;
          return store.evict(address);
        },
        [this, before](entry& known, p2p::done& how) {
          if (!how) {
            known.state = before;
            return wait(known, how.problem().text, retry_interval);
          }
          if (!known.wanted && known.holders.empty())
            return on_evicted(known.address, "removed");
          known.doomed = known.pinned = false;
          known.wanted = true;
          go_on(known);
        });
  }

  // -- what the engine tells -----------------------------------------------------------

  void on(p2p::event::listening& what) {
    // Of several interfaces the one that others reach.
    auto address = port_->public_address();
    if (where_ && what.where.address != address)
      return;
    where_ = what.where;
    if (!address.empty())
      where_->address = address;
    spdlog::info("contents.listen node={} address={}", node_.name, to_string(*where_));
  }

  void on(p2p::event::mapped& what) {
    auto known = witnesses_.find(what.by);
    if (known == witnesses_.end())
      return; // it was not asked
    if (known->second.where != what.where) {
      spdlog::info("contents.seen node={} by={} at={}", node_.name, to_string(what.by), to_string(what.where));
      // What others have said is of before, perhaps: together with this it would look like a NAT of another kind.
      for (auto& [by, other] : witnesses_)
        if (other.where)
          other = {};
    }
    known->second.where = what.where;
    known->second.told = now();
  }

  void on(p2p::event::engine_failed& what) {
    spdlog::error("contents.engine node={} reason=\"{}\"", node_.name, what.problem.text);
    engine_problem_ = what.problem.text;
  }

  void on(p2p::event::checked& what) {
    if (find(what.address)) {
      port_->engine().request_progress();
      report_soon();
    }
  }

  /// @param total since it was added to the engine
  /// @returns how much more that is than before
  static std::uint64_t count(std::uint64_t& before, std::uint64_t total, caf::telemetry::int_counter* counter) {
    auto more = total - std::min(before, total);
    if (more > 0)
      counter->inc(static_cast<std::int64_t>(more));
    before += more;
    return more;
  }

  void count_received(entry& one, std::uint64_t total) {
    auto came = count(one.downloaded, total, metrics_.received);
    one.fresh += came;
    received_ += came;
  }

  void on(p2p::event::blocks_written& what) {
    auto one = find(what.address);
    if (!one || !one->in_engine)
      return;
    // A second before the engine says so.
    count_received(*one, one->downloaded + what.received_bytes);
    if (one->state != content_state::fetching)
      return;
    just([address = what.address, blocks = std::move(what.blocks)](content_store& store) {
      // Without it they are fetched again should the process be killed, and all that is lost.
      [[maybe_unused]] auto noted = store.note_blocks(address, blocks);
    });
  }

  void on(p2p::event::piece_finished& what) {
    if (auto one = find(what.address); one && one->what) {
      one->add_piece(what.piece);
      attend(*one);
    }
    if (auto* origins = port_->origins())
      origins->took(what.address, what.piece, true);
  }

  void on(p2p::event::piece_rejected& what) {
    spdlog::warn("contents.bad_piece node={} content={} piece={} reason=\"it came with a wrong hash and is fetched "
                 "again\"",
                 node_.name, short_hex(what.address), what.piece);
    if (auto* origins = port_->origins())
      origins->took(what.address, what.piece, false);
  }

  void on(p2p::event::content_finished& what) {
    if (auto one = find(what.address); one && one->what) {
      one->have.assign(one->have.size(), true);
      one->known = true;
      one->count_bytes();
      finish(*one);
    }
  }

  void on(p2p::event::damaged& what) {
    auto one = find(what.address);
    if (!one)
      return;
    if (one->busy) {
      one->doubtful = true;
      return;
    }
    spdlog::warn("contents.damaged node={} content={} name={} reason=\"a piece that was asked for is damaged\"",
                 node_.name, to_string(one->address), name_of(one->address));
    one->state = content_state::condemned;
    one->reason = "a piece that another node asked for is damaged";
    one->wanted = true;
    take_from_engine(*one);
    work_for(
        *one,
        [address = one->address, why = one->reason, good = what.good](content_store& store) {
          return store.condemn(address, why, good);
        },
        [this](entry& known, p2p::done& how) {
          if (!how)
            return wait(known, how.problem().text, retry_interval);
          go_on(known);
        });
  }

  void on(p2p::event::progress& what) {
    auto one = find(what.address);
    if (!one || !one->in_engine || what.have.size() != one->have.size())
      return;
    one->known = true;
    one->have = std::move(what.have);
    one->count_bytes();
    one->download_now = what.download_bytes_per_s;
    one->upload_now = what.upload_bytes_per_s;
    count_received(*one, what.downloaded_bytes);
    sent_ += count(one->uploaded, what.uploaded_bytes, metrics_.sent);
    count(one->wasted, what.wasted_bytes, metrics_.wasted);
    one->peers = what.peers;
    attend(*one);
    // It was all there already.
    if (one->state == content_state::fetching && one->bytes_done == one->what->size)
      finish(*one);
  }

  void on(p2p::event::failed& what) {
    auto one = find(what.address);
    if (!one)
      return;
    take_from_engine(*one);
    if (one->state == content_state::ready) {
      // Whether its files are whole is to be seen.
      one->state = content_state::verifying;
      one->reason = what.problem.text;
      return verify(*one, nullptr);
    }
    wait(*one, what.problem.text, retry_interval);
  }

  void on(p2p::event::resume_ready& what) {
    auto one = find(what.address);
    if (!one || what.data.empty() || one->state != content_state::fetching)
      return;
    just([address = what.address, data = std::move(what.data)](content_store& store) {
      // Without it the files are checked again, which is slower, and all that is lost.
      [[maybe_unused]] auto saved = store.save_resume(address, data);
    });
  }

  void on(p2p::event::removed&) {}

  void on(p2p::event::peer_refused& what) {
    metrics_.refused->inc();
    spdlog::debug("contents.refused node={} peer={}", node_.name, to_string(what.who));
  }

  void on(p2p::event::peer_banned& what) {
    spdlog::warn("contents.banned node={} content={} peer={} reason=\"it sent what was wrong\"", node_.name,
                 short_hex(what.address), to_string(what.who));
  }

  void on(p2p::event::peer_left& what) {
    if (auto one = find(what.address))
      std::erase_if(one->dialled, [&](auto& entry) { return entry.second == what.who; });
  }

  void on(p2p::event::events_lost&) { port_->engine().request_progress(); }

  // -- once per second -----------------------------------------------------------------

  void tick() {
    self_->run_delayed(tick_interval, [this] { tick(); });
    if (!open_)
      return;
    auto passed = std::chrono::duration_cast<milliseconds>(now() - std::exchange(ticked_at_, now()));
    auto since_last = static_cast<std::uint64_t>(std::max(passed, milliseconds{1}).count());
    port_->engine().request_progress();
    for (auto i = entries_.begin(); i != entries_.end();) {
      auto& one = (i++)->second;
      one.download.add(std::exchange(one.fresh, 0) * 1000 / since_last);
      if (one.in_engine && one.state == content_state::fetching)
        port_->engine().request_resume(one.address);
      std::erase_if(one.holders, [&](auto& holder) { return now() - holder.second >= holder_silence; });
      keep_held(one);
      if (one.relayed && now() - *one.relayed >= relay_lasts && !one.pinned && one.holders.empty()) {
        one.relayed.reset();
        one.doomed = true;
      }
      if (one.doomed && one.holders.empty() && now() >= one.retry_at)
        evict(one);
      else if (one.doubtful && one.what && one.busy == 0 && now() >= one.retry_at)
        verify(one, nullptr);
      else
        go_on(one);
    }
    attend_all();
    for (auto& [id, one] : jobs_.all())
      watch(one);
    auto in_state = [&](content_state state) {
      return std::count_if(entries_.begin(), entries_.end(), [&](auto& entry) { return entry.second.state == state; });
    };
    metrics_.ready->value(in_state(content_state::ready));
    metrics_.fetching->value(in_state(content_state::fetching));
    metrics_.stored->value(static_cast<std::int64_t>(store_used_));
    for (auto& tracker : choice_.due(now()))
      linked(tracker);
    report();
    save_notes();
    measure(since_last);
    yield();
    set_limits();
    share_links();
  }

  /// What the transfers since the last tick tell of the link.
  /// @param since_last In ms.
  void measure(std::uint64_t since_last) {
    auto per_s = [&](std::uint64_t& bytes) { return std::exchange(bytes, 0) * 1000 / since_last; };
    auto others = other_limits();
    auto sent = per_s(sent_);
    demand_.look(sent, lease_.granted(now()));
    uplink_.look(sent, others.upload_bytes_per_s, world_.wall_time());
    downlink_.look(per_s(received_), others.download_bytes_per_s, world_.wall_time());
    auto told = [](caf::telemetry::int_gauge* gauge, const p2p::link_meter& meter) {
      gauge->value(static_cast<std::int64_t>(meter.measured().value_or(0)));
    };
    told(metrics_.uplink, uplink_);
    told(metrics_.downlink, downlink_);
  }

  /// Gives way to the requests that the node works on.
  void yield() {
    std::uint64_t received = 0;
    std::uint64_t sent = 0;
    for (auto& [address, one] : entries_) {
      received += one.download_now;
      sent += one.upload_now;
    }
    auto moved = std::max(received, sent);
    auto before = give_way_.giving();
    auto pressure = port_->pressure();
    give_way_.look(moved, pressure, now() < busy_until_);
    auto after = give_way_.giving();
    if (before != after)
      spdlog::info("contents.{} node={} pressure={:.2f} requests={} limit_bytes_per_s={}", after ? "give_way" : "go_on",
                   node_.name, pressure, running_, give_way_.limit().value_or(0));
  }

  void look() {
    self_->run_delayed(look_interval, [this] { look(); });
    auto fetches = false;
    auto alone = false;
    for (auto& [address, one] : entries_)
      if (one.in_engine && one.state == content_state::fetching) {
        fetches = true;
        alone = alone || one.peers == 0;
      }
    if (!open_ || !fetches)
      return;
    port_->engine().request_progress();
    // Until it has been told of somebody who lets it in.
    if (alone)
      report_soon();
  }

  /// Something changed that other nodes wait for.
  void report_soon() {
    if (!std::exchange(news_, true))
      self_->run_delayed(news_delay, [this] {
        news_ = false;
        if (open_)
          report();
      });
  }

  void keep_held(entry& one) {
    if (one.held == !one.holders.empty())
      return;
    one.held = !one.held;
    just([address = one.address, hold = one.held, at = port_->wall_time()](content_store& store) {
      if (hold)
        store.hold(address);
      else
        store.release(address);
      store.touch(address, at);
    });
  }

  static void lower(std::uint64_t& limit, std::optional<std::uint64_t> to) {
    if (to)
      limit = limit == 0 ? *to : std::min(limit, *to);
  }

  /// All but the share of the link.
  p2p::engine_limits other_limits() const {
    p2p::engine_limits limits{options_.upload_bytes_per_s, options_.download_bytes_per_s};
    if (limit_.bytes_per_s() > 0)
      lower(limits.upload_bytes_per_s, lease_.value(now()));
    lower(limits.upload_bytes_per_s, give_way_.limit());
    lower(limits.download_bytes_per_s, give_way_.limit());
    return limits;
  }

  void set_limits() {
    auto limits = other_limits();
    lower(limits.upload_bytes_per_s, uplink_.cap());
    lower(limits.download_bytes_per_s, downlink_.cap());
    if (limits == in_force_)
      return;
    spdlog::debug("contents.limits node={} upload_bytes_per_s={} download_bytes_per_s={}", node_.name,
                  limits.upload_bytes_per_s, limits.download_bytes_per_s);
    port_->engine().set_limits(in_force_ = limits);
  }

  /// What is less urgent leaves the links to what is more urgent, here or to those that fetch from here.
  void share_links() {
    std::vector<entry*> moving;
    std::vector<p2p::link_use> coming;
    std::vector<p2p::link_use> going;
    for (auto& [address, one] : entries_)
      if (one.in_engine && (one.download_now > 0 || one.upload_now > 0 || one.share != p2p::engine_limits{})) {
        moving.push_back(&one);
        coming.push_back({one.how(), one.download_now});
        going.push_back({std::max(one.how(), one.others), one.upload_now});
      }
    auto capacity = [](std::uint64_t limit, const p2p::link_meter& link) {
      return limit > 0 ? limit : link.measured().value_or(0);
    };
    auto down = p2p::share_by_urgency(capacity(in_force_.download_bytes_per_s, downlink_), coming);
    auto up = p2p::share_by_urgency(capacity(in_force_.upload_bytes_per_s, uplink_), going);
    for (std::size_t i = 0; i < moving.size(); ++i)
      if (p2p::engine_limits share{up[i], down[i]}; share != moving[i]->share)
        port_->engine().set_limits(moving[i]->address, moving[i]->share = share);
  }

  // -- trackers ------------------------------------------------------------------------

  /// Null: there is no session yet, or none can be had; it is being dialled.
  tracker_link* linked(const std::string& address) {
    auto& link = links_[address];
    if (link.tracker)
      return &link;
    if (std::exchange(link.dialing, true))
      return nullptr;
    self_->request(world_.dialer(), caf::timespan{dial_timeout}, dial_atom_v, address, std::string{tracker_service})
        .then(
            [this, address](const caf::strong_actor_ptr& found) {
              auto& known = links_[address];
              known.dialing = false;
              known.tracker = caf::actor_cast<swarm_desk>(found);
              self_->monitor(known.tracker);
              choice_.answered(address);
              if (open_)
                report_to(address);
            },
            [this, address](const caf::error& reason) { lost(address, error_text(reason)); });
    return nullptr;
  }

  /// To the tracker that answers for the key; null as above.
  tracker_link* link_for(const std::string& key) {
    auto address = choice_.tracker_of(key, now());
    return address ? linked(*address) : nullptr;
  }

  void lost(const std::string& address, const std::string& reason) {
    auto& link = links_[address];
    if (link.tracker)
      spdlog::warn("contents.tracker_lost node={} tracker={} reason=\"{}\"", node_.name, address, reason);
    link.tracker = nullptr;
    link.dialing = link.asking = false;
    choice_.failed(address, now());
  }

  void report() {
    std::set<std::string> trackers;
    auto add = [&](const std::string& key) {
      if (auto tracker = choice_.tracker_of(key, now()))
        trackers.insert(*tracker);
    };
    add(limit_key);
    for (auto& [address, one] : entries_)
      if (one.what)
        add(to_string(address));
    names_.visit_all([&](const pb::ContentName& one) { add(one.name()); });
    for (auto& tracker : trackers)
      if (linked(tracker))
        report_to(tracker);
    set_peers();
  }

  void describe(pb::SwarmReport& report) const {
    report.set_member(id_.value());
    report.set_incarnation(incarnation_.value());
    report.set_name(node_.name);
    report.set_process(world_.address());
    if (where_)
      *report.mutable_where() = to_pb(*where_);
    for (auto& [key, value] : node_.labels)
      if (key == "zone")
        report.set_zone(value);
      else if (key == "rack")
        report.set_rack(value);
    report.set_machine(port_->machine());
    *report.mutable_limit() = limit_;
    report.set_store_used(store_used_);
    report.set_store_max(options_.bytes_max);
    report.set_problem(problem_.empty() ? engine_problem_ : problem_);
    for (auto& [by, seen] : witnesses_)
      if (seen.where && now() - seen.told < 2 * witness_again) {
        auto& told = *report.add_mapped();
        *told.mutable_by() = to_pb(by);
        *told.mutable_where() = to_pb(*seen.where);
      }
    report.set_punches(port_->passes_nats());
    report.set_uplink(uplink_.measured().value_or(0));
    report.set_downlink(downlink_.measured().value_or(0));
  }

  pb::Holding describe(const entry& one) const {
    auto result = to_holding(one, one.state == content_state::ready ? "" : text_of(one));
    result.set_has_origin(has_origin(one) && now() >= one.from.retry_at);
    result.set_reads_origin(reads_origin(one));
    return result;
  }

  void report_to(const std::string& address) {
    auto& link = links_[address];
    if (link.asking || !link.tracker)
      return;
    pb::SwarmReport report;
    describe(report);
    auto mine = [&](const std::string& key) { return choice_.tracker_of(key, now()) == address; };
    std::size_t left = holdings_bytes_max;
    // Those that are on their way first: of the others the tracker can miss one for a second.
    for (auto on_its_way : {true, false})
      for (auto& [content, one] : entries_) {
        if (!one.what || one.doomed || (one.state != content_state::ready) != on_its_way || !mine(to_string(content)))
          continue;
        auto holding = describe(one);
        auto size = holding.ByteSizeLong() + 4;
        if (size > left)
          continue;
        left -= size;
        *report.add_holdings() = std::move(holding);
      }
    if (mine(limit_key)) {
      auto cap = options_.upload_bytes_per_s == 0 ? unlimited_bytes_per_s : options_.upload_bytes_per_s;
      // Who fetches will serve what it has at once, and whom a limit keeps from asking gets nothing.
      auto sends = false;
      auto how = p2p::urgency::low;
      for (auto& [content, one] : entries_)
        if (one.in_engine && (one.fetching > 0 || one.wanted || one.upload_now > 0)) {
          sends = true;
          how = std::max({how, one.how(), one.others});
        }
      report.set_upload_priority(to_pb(how));
      report.set_upload_wanted(sends ? demand_.wanted(cap) : 0);
      report.set_upload_floor(options_.upload_floor_bytes_per_s);
    }
    add_names(report, link, mine);
    link.asking = true;
    link.asked = now();
    self_->request(link.tracker, caf::timespan{answer_timeout}, swarm_report{std::move(report)})
        .then([this, address](const swarm_answer& answer) { on_answer(address, *answer); },
              [this, address](const caf::error& reason) {
                lost(address, reason == caf::sec::request_timeout ? "no answer" : error_text(reason));
              });
  }

  /// As many as fit; the others have their turn with the next reports.
  template <class Mine>
  void add_names(pb::SwarmReport& report, tracker_link& link, Mine mine) const {
    std::vector<const pb::ContentName*> names;
    names_.visit_all([&](const pb::ContentName& one) {
      if (mine(one.name()))
        names.push_back(&one);
    });
    std::size_t left = names_bytes_max;
    for (std::size_t i = 0; i < names.size(); ++i) {
      auto& one = *names[(link.next_name + i) % names.size()];
      if (one.ByteSizeLong() + 4 > left) {
        link.next_name = (link.next_name + i) % names.size();
        return;
      }
      left -= one.ByteSizeLong() + 4;
      *report.add_names() = one;
    }
    link.next_name = 0;
  }

  void on_answer(const std::string& tracker, const pb::SwarmAnswer& answer) {
    auto& link = links_[tracker];
    link.asking = false;
    choice_.answered(tracker);
    for (auto& peer : answer.allowed())
      named_[to_peer(peer)] = now();
    set_peers();
    for (auto& errand : answer.errands())
      obey(errand, link.asked);
    meet(answer);
    for (auto& better : answer.removed())
      learn(better);
    if (answer.limit().revision() > limit_.revision()) {
      limit_ = answer.limit();
      notes_changed_ = true;
    }
    if (answer.upload_share() > 0 && choice_.tracker_of(limit_key, now()) == tracker)
      lease_.grant(answer.upload_share(), now() + milliseconds{answer.share_lasts_ms()});
    set_limits();
  }

  /// What it takes to meet others through NATs.
  void meet(const pb::SwarmAnswer& answer) {
    if (!port_->passes_nats() || !where_)
      return;
    for (auto& peer : answer.ask()) {
      auto whom = to_peer(peer);
      auto [known, fresh] = witnesses_.try_emplace(whom);
      auto& [where, asked, told] = known->second;
      if (fresh || now() - std::max(asked, told) >= (where ? witness_again : tick_interval)) {
        asked = now();
        port_->engine().probe(whom);
      }
    }
    std::erase_if(witnesses_, [&](auto& entry) { return now() - entry.second.asked >= witness_lasts; });
    for (auto& peer : answer.open())
      port_->engine().open_hole(to_peer(peer));
    for (auto& bytes : answer.relay())
      if (auto address = address_of(bytes))
        relay(entry_of(*address));
  }

  /// Fetches what nobody here needs, for as long as others need it here.
  void relay(entry& one) {
    if (one.relayed) {
      one.relayed = now();
      return;
    }
    if (one.doomed || one.wanted || one.state == content_state::ready)
      return;
    spdlog::info("contents.relay node={} content={} reason=\"nodes that want it cannot meet those that have it\"",
                 node_.name, short_hex(one.address));
    want(one);
    one.relayed = now();
  }

  /// Fetches what may be needed here soon, where there is room.
  void fetch_ahead(entry& one, const std::string& why) {
    one.relayed.reset();
    if (one.doomed || one.wanted || one.state == content_state::ready)
      return;
    spdlog::info("contents.ahead node={} content={} name={} reason=\"{}\"", node_.name, short_hex(one.address),
                 name_of(one.address), why);
    // First: what it begins with makes room, or does not.
    one.wish = p2p::urgency::low;
    want(one);
  }

  void obey(const pb::SwarmErrand& errand, time_point asked) {
    auto address = address_of(errand.address());
    auto one = address ? find(*address) : nullptr;
    if (!one)
      return;
    one->complete = errand.complete();
    one->fetching = errand.fetching();
    one->missing = errand.missing();
    if (!one->in_engine)
      return;
    std::vector<p2p::peer_endpoint> peers;
    for (auto& peer : errand.connect()) {
      auto where = to_peer(peer.where());
      one->dialled[peer.member()] = where;
      if (peer.punch())
        port_->engine().punch(*address, where);
      else
        peers.push_back(std::move(where));
    }
    if (!peers.empty())
      port_->engine().inject(*address, peers);
    one->others = to_urgency(errand.priority());
    if (auto stripe = to_stripe(errand); stripe != one->preferred && options_.order == "planned")
      port_->engine().prefer(*address, one->preferred = stripe);
    read_origin(*one, asked + std::min(milliseconds{errand.reads_origin_ms()}, lease_max));
  }

  // -- origins -------------------------------------------------------------------------

  bool has_origin(const entry& one) const {
    return port_->origins() && !names_.origin_of(to_bytes(one.address)).empty();
  }

  bool reads_origin(const entry& one) const { return now() < one.from.until; }

  /// Reads what is missing until then; what was to be read longer ends then, too.
  void read_origin(entry& one, time_point until) {
    auto fetches = one.in_engine && one.known && one.wanted && one.state == content_state::fetching && !one.whole();
    if (!fetches || !has_origin(one) || until <= now() || now() < one.from.retry_at)
      return stop_origin(one);
    if (!reads_origin(one))
      spdlog::info("contents.origin node={} content={} name={} url={}", node_.name, short_hex(one.address),
                   name_of(one.address), names_.origin_of(to_bytes(one.address)));
    one.from.until = until;
    auto zone =
        std::find_if(node_.labels.begin(), node_.labels.end(), [](auto& label) { return label.first == "zone"; });
    origin_lease lease;
    lease.what = one.what;
    lease.url = names_.origin_of(to_bytes(one.address));
    lease.have = one.have;
    lease.lasts = std::chrono::duration_cast<milliseconds>(until - now());
    lease.bytes_per_s = in_force_.download_bytes_per_s;
    lease.first_piece =
        first_to_read(zone == node_.labels.end() ? "" : zone->second, static_cast<std::uint32_t>(one.have.size()));
    port_->origins()->read(std::move(lease));
  }

  void stop_origin(entry& one) {
    if (one.from.until == time_point{})
      return;
    one.from.until = {};
    port_->origins()->stop(one.address);
  }

  void drain_origins() {
    if (!port_->origins())
      return;
    for (auto& news : port_->origins()->drain())
      std::visit([this](auto& what) { on(what); }, news);
  }

  void on(origin_piece& what) {
    auto one = find(what.address);
    if (!one || !one->in_engine || one->state != content_state::fetching)
      return;
    metrics_.from_origins->inc(static_cast<std::int64_t>(what.data.size()));
    received_ += what.data.size();
    one->fresh += what.data.size();
    one->from.problem.clear();
    one->from.failures = 0;
    port_->engine().add_piece(what.address, what.piece, std::move(what.data));
  }

  void on(origin_failed& what) {
    auto one = find(what.address);
    if (!one)
      return;
    auto& from = one->from;
    spdlog::warn("contents.origin_failed node={} content={} name={} reason=\"{}\"", node_.name, short_hex(what.address),
                 name_of(what.address), what.reason);
    from.problem = std::move(what.reason);
    from.until = {};
    // Meanwhile another node of the zone may have more luck.
    from.retry_at = now() + origin_pause * (1U << std::min(from.failures++, 5U));
    report_soon();
  }

  // -- peers ---------------------------------------------------------------------------

  /// A peer stays for a moment when it is not named any more: a content that goes from one tracker to another is not
  /// to lose its connections.
  void set_peers() {
    std::erase_if(named_, [&](auto& entry) { return now() - entry.second >= allowed_lasts; });
    std::vector<p2p::peer_endpoint> allowed;
    for (auto& [peer, when] : named_)
      allowed.push_back(peer);
    if (allowed != allowed_)
      port_->engine().set_peers(allowed_ = std::move(allowed));
  }

  // -- names ---------------------------------------------------------------------------

  /// The first of a content's names, for people; its address when it has none.
  std::string name_of(const content_address& address) const {
    auto names = names_.names_of(to_bytes(address));
    return names.empty() ? short_hex(address)
                         : to_string(content_reference{names.front()->name(), names.front()->version()});
  }

  void save_notes() {
    if (!std::exchange(notes_changed_, false))
      return;
    pb::KeeperNotes notes;
    names_.visit_all([&](const pb::ContentName& one) { *notes.add_names() = one; });
    *notes.mutable_limit() = limit_;
    just([text = encode(notes)](content_store& store) {
      if (auto saved = store.save_notes(text); !saved)
        spdlog::warn("contents.notes reason=\"{}\"", saved.problem().text);
    });
  }

  void learn(const pb::ContentName& name) {
    if (names_.learn(name) != verdict::learned)
      return;
    notes_changed_ = true;
    if (name.removed())
      name_removed(name);
  }

  /// Its files go when nothing else needs them.
  void name_removed(const pb::ContentName& name) {
    auto address = address_of(name.address());
    auto one = address ? find(*address) : nullptr;
    if (one && names_.names_of(name.address()).empty())
      evict(*one);
  }

  struct question {
    time_point asked{};
    /// What came of it; empty: nothing yet.
    std::string reason;
  };

  /// Asks a tracker for a name, once in a while.  @returns why it is not known yet.
  std::string look_for(const std::string& wanted) {
    auto& asked = questions_[wanted];
    if (asked.asked != time_point{} && now() - asked.asked < name_retry)
      return asked.reason;
    asked.asked = now();
    auto link = link_for(wanted);
    if (!link) {
      asked.asked = now() - name_retry + milliseconds{200};
      return asked.reason = "no tracker answers (they are beside the Resources)";
    }
    pb::SwarmQuery query;
    query.set_name(wanted);
    query.set_names_only(true);
    self_->request(link->tracker, caf::timespan{answer_timeout}, swarm_query{std::move(query)})
        .then(
            [this, wanted](const swarm_page& page) {
              for (auto& one : page->names())
                learn(one);
              questions_[wanted].reason =
                  page->settling() ? "the tracker has just started and does not know all names yet"
                                   : "no node has a content of this name and version; publish it with: astra model "
                                     "publish "
                                         + wanted + " PATH";
            },
            [this, wanted](const caf::error& reason) {
              questions_[wanted].reason = "the tracker does not answer: " + error_text(reason);
            });
    return asked.reason.empty() ? "asks a tracker for its address" : asked.reason;
  }

  // -- replicas ------------------------------------------------------------------------

  content_status on_hold(const hold_content& wish) {
    content_status result;
    content_reference reference;
    if (auto problem = parse_content_reference(wish.content, reference); !problem.empty()) {
      result.now = content_status::phase::failed;
      result.reason = problem;
      return result;
    }
    if (!open_) {
      result.reason = problem_.empty() ? "opens the store" : problem_;
      return result;
    }
    auto known = names_.find(reference.name, reference.version);
    if (!known) {
      result.reason = wish.content + ": " + look_for(reference.name);
      return result;
    }
    if (known->removed()) {
      result.now = content_status::phase::failed;
      result.reason = wish.content + " was removed (astra model rm)";
      return result;
    }
    auto& one = entry_of(*address_of(known->address()));
    if (one.size == 0)
      one.size = known->size();
    one.holders[wish.holder] = now();
    one.relayed.reset();
    keep_held(one);
    if (one.state == content_state::ready) {
      result.now = content_status::phase::ready;
    } else {
      want(one);
      result.reason = wish.content + ": " + text_of(one);
      if (wish.stream && one.what && one.in_engine && !port_->reading_url().empty())
        result.now = content_status::phase::streams;
    }
    if (result.now != content_status::phase::waiting) {
      result.path = one.path;
      result.url = url_of(wish.content);
    }
    return result;
  }

  void on_prefetch(const prefetch_contents& wish) {
    if (!open_)
      return;
    for (auto& content : wish.contents) {
      content_reference reference;
      if (!parse_content_reference(content, reference).empty())
        continue;
      if (auto known = names_.find(reference.name, reference.version); known && !known->removed())
        fetch_ahead(entry_of(*address_of(known->address())), "app " + wish.app + " may be placed here");
      else if (!known)
        look_for(reference.name);
    }
  }

  // -- those who read what is on its way -------------------------------------------------

  /// Where a content's files can be read; empty: nowhere.
  std::string url_of(const std::string& content) const {
    auto root = port_->reading_url();
    return root.empty() ? root : root + "/contents/" + content;
  }

  /// What is meant by "name@version" or an address.
  std::optional<content_address> address_to_read(const std::string& content) const {
    if (auto address = p2p::parse_address(content))
      return address;
    content_reference reference;
    if (!parse_content_reference(content, reference).empty())
      return std::nullopt;
    auto known = names_.find(reference.name, reference.version);
    return known && !known->removed() ? address_of(known->address()) : std::nullopt;
  }

  caf::result<content_extent> on_read(const read_content& wish) {
    if (!open_)
      return caf::make_error(errc::unreachable, problem_.empty() ? "the store is being opened" : problem_);
    auto address = address_to_read(wish.content);
    auto one = address ? find(*address) : nullptr;
    if (!one || (one->state == content_state::absent && !one->wanted))
      return caf::make_error(errc::unknown_name, "node '" + node_.name + "' does not have " + wish.content);
    if (!one->what)
      return caf::make_error(errc::unreachable, wish.content + ": " + text_of(*one));
    if (wish.file.empty())
      return content_extent{to_string(*address), one->what->size, 0};
    auto file = find_file(*one->what, wish.file);
    if (!file)
      return caf::make_error(errc::unknown_name, wish.content + " has no file '" + wish.file + "'");
    if (wish.offset >= file->size || wish.length == 0)
      return extent_of(*one, *file, 0);
    if (one->state == content_state::ready)
      return extent_of(*one, *file, std::min(wish.length, file->size - wish.offset));
    if (!one->in_engine)
      return caf::make_error(errc::unreachable, wish.content + ": " + text_of(*one));
    auto& readers = readers_.try_emplace(*address, one->what).first->second;
    auto promise = self_->make_response_promise<content_extent>();
    file = find_file(*readers.what, wish.file);
    auto who = readers.plan.ask(*file, wish.offset, wish.length, now() + read_patience);
    readers.waiting.emplace(who, waiting_reader{promise, file});
    attend(*one);
    return promise;
  }

  /// What is in the file may be read: an engine says that it has a piece after it has read it back from there.
  static content_extent extent_of(const entry& one, const p2p::content_file& file, std::uint64_t length) {
    auto& place = one.state == content_state::ready ? one.path : one.place;
    return {place + "/" + file.path, file.size, length};
  }

  /// Answers those who read a content and need not wait any more, and has the engine bring first what others wait for.
  void attend(entry& one) {
    auto found = readers_.find(one.address);
    if (found == readers_.end())
      return;
    auto& readers = found->second;
    auto ready = one.state == content_state::ready;
    if (!ready && !one.in_engine && (one.state == content_state::condemned || one.state == content_state::absent))
      return turn_away(found, one.state == content_state::condemned ? "it was found damaged: " + text_of(one)
                                                                    : "it was removed");
    std::vector<bool> all;
    if (ready)
      all.assign(one.what->piece_hashes.size(), true);
    auto& have = ready ? all : one.have;
    for (auto& answer : readers.plan.take_answers(have, now())) {
      auto waiting = readers.waiting.extract(answer.who);
      waiting.mapped().promise.deliver(extent_of(one, *waiting.mapped().file, answer.length));
    }
    for (auto who : readers.plan.take_impatient(now()))
      readers.waiting.extract(who).mapped().promise.deliver(
          caf::make_error(errc::unreachable, name_of(one.address) + ": " + text_of(one)));
    if (one.in_engine && !ready)
      if (auto deadlines = readers.plan.changed_deadlines(have, now()))
        port_->engine().set_deadlines(one.address, *deadlines);
    if (ready || readers.plan.idle())
      readers_.erase(found);
  }

  struct waiting_reader {
    caf::typed_response_promise<content_extent> promise;
    /// Of the content's.
    const p2p::content_file* file = nullptr;
  };

  struct content_readers {
    explicit content_readers(std::shared_ptr<const p2p::content> of_what) : what(of_what), plan(std::move(of_what)) {}

    /// Its files are pointed to.
    std::shared_ptr<const p2p::content> what;
    read_plan plan;
    std::map<read_plan::ticket, waiting_reader> waiting;
  };

  /// None of those who wait will get anything.
  void turn_away(std::map<content_address, content_readers>::iterator whom, const std::string& why) {
    for (auto& [who, reader] : whom->second.waiting)
      reader.promise.deliver(caf::make_error(errc::io_failed, name_of(whom->first) + ": " + why));
    readers_.erase(whom);
  }

  void attend_all() {
    for (auto i = readers_.begin(); i != readers_.end();) {
      auto next = i++;
      if (auto one = find(next->first))
        attend(*one);
      else
        turn_away(next, "it was removed");
    }
  }

  held_contents ready_names() const {
    held_contents result;
    names_.visit_all([&](const pb::ContentName& one) {
      auto known = one.removed() ? entries_.end() : entries_.find(*address_of(one.address()));
      if (known != entries_.end() && known->second.state == content_state::ready)
        result.names.push_back(to_string(content_reference{one.name(), one.version()}));
    });
    std::sort(result.names.begin(), result.names.end());
    return result;
  }

  fetch_progress progress_of(const entry& one) const {
    return {one.bytes_done,
            one.size,
            one.download.value(),
            one.peers,
            one.complete,
            one.missing,
            options_.download_bytes_per_s,
            downlink_.cap().value_or(0),
            limit_.bytes_per_s() > 0,
            give_way_.giving(),
            one.share.download_bytes_per_s,
            has_origin(one),
            reads_origin(one),
            one.from.problem};
  }

  std::string text_of(const entry& one) const { return astra::text_of(one, progress_of(one)); }

  void on_release(claim_token holder) {
    for (auto& [address, one] : entries_)
      if (one.holders.erase(holder) > 0)
        keep_held(one);
  }

  // -- other nodes ---------------------------------------------------------------------

  caf::result<manifest_part> on_manifest(const pb::ManifestQuery& query) {
    auto address = address_of(query.address());
    auto one = address ? find(*address) : nullptr;
    pb::ManifestPart part;
    if (one && one->what && query.offset() < one->what->torrent.size()) {
      auto& torrent = one->what->torrent;
      auto begin = static_cast<std::size_t>(query.offset());
      part.set_total(torrent.size());
      part.set_data(torrent.data() + begin, std::min(manifest_part_max, torrent.size() - begin));
    }
    return manifest_part{std::move(part)};
  }

  // -- operators -----------------------------------------------------------------------

  static content_reply refused(errc code, std::string reason) {
    pb::ContentReply reply;
    reply.set_code(to_string(code));
    reply.set_reason(std::move(reason));
    return content_reply{std::move(reply)};
  }

  content_reply on_order(const pb::ContentOrder& order) {
    if (order.verb() == pb::CONTENT_JOB)
      return tell(order.job());
    spdlog::info("contents.order node={} verb={} name={} version={} origin=\"{}\"", node_.name,
                 pb::ContentVerb_Name(order.verb()), order.name().name(), order.name().version(), order.origin());
    if (!open_)
      return problem_.empty() ? refused(errc::unreachable, "the store is being opened; try again in a second")
                              : refused(errc::io_failed, problem_);
    switch (order.verb()) {
    case pb::CONTENT_PUBLISH:
      return publish(order);
    case pb::CONTENT_FETCH:
      return fetch(order);
    case pb::CONTENT_VERIFY:
    case pb::CONTENT_PIN:
    case pb::CONTENT_UNPIN:
    case pb::CONTENT_REMOVE: {
      auto address = address_of(order.name().address());
      if (!address)
        return refused(errc::invalid_argument, "the order names no content");
      if (order.verb() == pb::CONTENT_REMOVE)
        return remove(order, *address);
      auto one = find(*address);
      if (!one || one->state == content_state::absent)
        return refused(errc::unknown_name, "node '" + node_.name + "' does not have it");
      if (order.verb() == pb::CONTENT_VERIFY)
        return begin_verify(order, *one);
      return pin(*one, order.verb() == pb::CONTENT_PIN);
    }
    default:
      return refused(errc::invalid_argument,
                     "this node does not know what is asked for; it may be of an older version");
    }
  }

  static content_reply reply_of(const job& what) {
    pb::ContentReply reply;
    *reply.mutable_job() = what->told;
    return content_reply{std::move(reply)};
  }

  content_reply tell(std::uint64_t id) {
    auto found = jobs_.find(id);
    if (!found)
      return refused(errc::unknown_name,
                     fmt::format("node '{}' knows no job {}; it may have been started anew since", node_.name, id));
    watch(found);
    return reply_of(found);
  }

  /// Brings what is told of a job up to date.
  void watch(const job& what) {
    if (!what->running())
      return;
    auto& told = what->told;
    if (told.verb() != pb::CONTENT_FETCH)
      return what->measure(now());
    auto address = address_of(told.name().address());
    auto one = address ? find(*address) : nullptr;
    if (!one)
      return what->end(pb::JOB_FAILED, "it was removed or evicted");
    auto ready = one->state == content_state::ready;
    told.set_bytes_done(ready ? one->size : one->bytes_done);
    told.set_bytes_total(one->size);
    told.set_bytes_per_s(one->download.value());
    told.set_peers(one->peers);
    auto left = time_left(progress_of(*one));
    told.set_eta_ms(left ? static_cast<std::uint64_t>(left->count()) : 0);
    told.set_reason(ready ? "" : text_of(*one));
    if (ready)
      what->end(pb::JOB_DONE, "");
  }

  content_reply publish(const pb::ContentOrder& order) {
    if (auto problem = name_problem(order.name().name()); !problem.empty())
      return refused(errc::invalid_argument, "name " + problem);
    // What a simulated machine has to publish lies at no path.
    if (!order.path().starts_with('/') && !order.path().starts_with("sim:"))
      return refused(errc::invalid_argument, "\"" + order.path() + "\" is no absolute path");
    if (auto& origin = order.name().origin(); !origin.empty())
      if (auto problem = origin_problem(origin); !problem.empty())
        return refused(errc::invalid_argument, problem);
    auto whose = jobs_.begin(order, now());
    whose->told.set_reason("reads and hashes the files");
    std::filesystem::path path{order.path()};
    port_->run([this, whose, path, pin = order.pin(), control = control_of(whose->meter)](content_store& store) {
      auto made = std::make_shared<p2p::outcome<p2p::content>>(store.make(path, control));
      return content_port::aftermath{[this, whose, path, pin, made] {
        if (!*made)
          return whose->end(pb::JOB_FAILED, made->problem().text);
        auto& one = entry_of((*made)->address);
        one.doomed = false;
        one.size = (*made)->size;
        if (!one.what)
          one.what = std::make_shared<const p2p::content>(std::move(**made));
        whose->told.mutable_name()->set_address(to_bytes(one.address));
        take_in(one, whose, path, pin);
      }};
    });
    return reply_of(whose);
  }

  struct taken_in {
    p2p::done result = p2p::nothing{};
    std::string path;
    std::uint64_t shared = 0;
    std::vector<content_address> evicted;
  };

  /// Copies what was published into the store, if it is not there.
  void take_in(entry& one, const job& whose, const std::filesystem::path& path, bool pinned) {
    if (one.state == content_state::ready && one.in_engine && one.busy == 0)
      return published(one, whose, pinned);
    // An engine that still writes into it would do so over the copy.
    if (one.busy > 0 || one.in_engine) {
      one.wanted = false;
      if (one.busy == 0)
        take_from_engine(one);
      self_->run_delayed(settle_time, [this, address = one.address, whose, path, pinned] {
        if (auto known = find(address))
          take_in(*known, whose, path, pinned);
        else
          whose->end(pb::JOB_FAILED, "it was removed meanwhile");
      });
      return;
    }
    one.wanted = false;
    whose->told.set_reason("copies the files into the store");
    work_for(
        one,
        [what = one.what, path, keep = last_copies(), at = port_->wall_time(),
         control = control_of(whose->meter)](content_store& store) {
          taken_in result;
          result.shared = store.shared_bytes(*what);
          auto room = room_for(store, *what, keep, at);
          if (!room) {
            result.result = room.problem();
            return result;
          }
          result.evicted = std::move(*room);
          result.result = store.import(*what, path, at, control);
          result.path = store.visible(what->address).string();
          return result;
        },
        [this, whose, pinned](entry& known, taken_in& how) {
          for (auto& gone : how.evicted)
            on_evicted(gone, "to make room for what is published");
          if (!how.result) {
            whose->end(pb::JOB_FAILED, how.result.problem().text);
            // What was there before has to be looked at.
            known.doubtful = known.state != content_state::absent;
            return;
          }
          whose->told.set_bytes_shared(how.shared);
          become_ready(known, how.path);
          published(known, whose, pinned);
        });
  }

  void published(entry& one, const job& whose, bool pinned) {
    if (pinned && !one.pinned)
      pin(one, true);
    auto& name = *whose->told.mutable_name();
    name.set_size(one.size);
    name.set_publisher(node_.name);
    name.set_published_ms(static_cast<std::uint64_t>(world_.wall_time().count()));
    whose->meter->done = whose->meter->total = one.size;
    whose->told.set_reason("asks for a version of the name");
    claim_name(whose);
  }

  void claim_name(const job& whose) {
    auto again = [this, whose](std::string reason) {
      whose->told.set_reason("waits for a version of the name: " + std::move(reason));
      self_->run_delayed(milliseconds{500}, [this, whose] { claim_name(whose); });
    };
    auto link = link_for(whose->told.name().name());
    if (!link)
      return again("no tracker answers (they are beside the Resources)");
    pb::NameClaim claim;
    *claim.mutable_name() = whose->told.name();
    self_->request(link->tracker, caf::timespan{answer_timeout}, name_claim{std::move(claim)})
        .then(
            [this, whose, again](const name_grant& grant) {
              if (!grant->code().empty())
                return again(grant->reason());
              *whose->told.mutable_name() = grant->name();
              learn(grant->name());
              whose->end(pb::JOB_DONE, "");
              spdlog::info("contents.publish node={} name={} version={} content={}", node_.name, grant->name().name(),
                           grant->name().version(), hex(grant->name().address()));
            },
            [again](const caf::error& reason) { again(error_text(reason)); });
  }

  content_reply fetch(const pb::ContentOrder& order) {
    auto address = address_of(order.name().address());
    if (!address)
      return refused(errc::invalid_argument, "the order names no content");
    learn(order.name());
    auto& one = entry_of(*address);
    one.doomed = false;
    if (one.size == 0)
      one.size = order.name().size();
    one.pinned = one.pinned || order.pin();
    one.wish = to_urgency(order.priority());
    want(one);
    auto whose = jobs_.begin(order, now());
    watch(whose);
    if (order.pin() && one.state != content_state::absent)
      pin(one, true);
    return reply_of(whose);
  }

  content_reply begin_verify(const pb::ContentOrder& order, entry& one) {
    if (one.busy || one.state == content_state::fetching)
      return refused(errc::conflict, "it is not complete: " + text_of(one));
    auto whose = jobs_.begin(order, now());
    verify(one, whose);
    return reply_of(whose);
  }

  content_reply pin(entry& one, bool pinned) {
    one.pinned = pinned;
    work_for(
        one, [address = one.address, pinned](content_store& store) { return store.pin(address, pinned); },
        [this](entry& known, p2p::done& how) {
          if (!how)
            spdlog::warn("contents.pin node={} content={} reason=\"{}\"", node_.name, short_hex(known.address),
                         how.problem().text);
        });
    return content_reply{};
  }

  content_reply remove(const pb::ContentOrder& order, const content_address& address) {
    auto gone = order.name();
    gone.set_removed(true);
    if (names_.learn(gone) == verdict::learned)
      notes_changed_ = true;
    pb::ContentReply reply;
    auto one = find(address);
    auto names = names_.names_of(order.name().address());
    if (!one)
      return content_reply{std::move(reply)};
    if (!names.empty()) {
      reply.set_reason("its files stay: they are also " + name_of(address));
      return content_reply{std::move(reply)};
    }
    if (!one->holders.empty())
      reply.set_reason(fmt::format("its files stay until {} replica{} that use{} them {} gone", one->holders.size(),
                                   one->holders.size() == 1 ? "" : "s", one->holders.size() == 1 ? "s" : "",
                                   one->holders.size() == 1 ? "is" : "are"));
    evict(*one);
    return content_reply{std::move(reply)};
  }

  content_keeper_actor::pointer self_;
  platform& world_;
  const node_options node_;
  const store_options options_;
  std::shared_ptr<content_port> port_;
  node_id id_;
  incarnation incarnation_;
  /// The store is open and known.
  bool open_ = false;
  std::string problem_;
  std::string engine_problem_;
  std::optional<p2p::peer_endpoint> where_;
  struct witness {
    std::optional<p2p::peer_endpoint> where;
    time_point asked{};
    time_point told{};
  };
  /// Those who were asked where they see this node's engine, and what they said.
  std::map<p2p::peer_endpoint, witness> witnesses_;
  std::map<content_address, entry> entries_;
  name_book names_;
  std::map<std::string, question> questions_;
  pb::SwarmLimit limit_;
  tracker_choice choice_;
  std::map<std::string, tracker_link> links_;
  /// Peers, and when a tracker named them last; and what the engine was told of that.
  std::map<p2p::peer_endpoint, time_point> named_;
  std::vector<p2p::peer_endpoint> allowed_;
  p2p::leased_limit lease_;
  p2p::upload_demand demand_;
  p2p::link_meter uplink_;
  p2p::link_meter downlink_;
  /// Since the links were measured last.
  std::uint64_t received_ = 0;
  std::uint64_t sent_ = 0;
  time_point ticked_at_{};
  p2p::engine_limits in_force_;
  std::uint64_t store_used_ = 0;
  keeper_metrics metrics_;
  job_book jobs_;
  /// Requests that the node has worked on since it said so before, and until when it counts as busy with such.
  std::uint32_t running_ = 0;
  time_point busy_until_{};
  p2p::give_way give_way_;
  std::map<content_address, content_readers> readers_;
  /// Names or the limit are others than in the store.
  bool notes_changed_ = false;
  /// The trackers are about to be told.
  bool news_ = false;
  std::stop_source stop_;
};

} // namespace

content_keeper_actor spawn_content_keeper(caf::actor_system& sys, platform& world, const node_options& node,
                                          const store_options& options, std::shared_ptr<content_port> port) {
  return sys.spawn<content_keeper_actor::stateful_impl<content_keeper_state>>(std::ref(world), node, options,
                                                                              std::move(port));
}

} // namespace astra
