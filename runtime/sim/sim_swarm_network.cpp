#include "runtime/sim/sim_swarm_network.hpp"

#include "p2p/merkle.hpp"
#include "runtime/sim/event_queue.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cstring>
#include <deque>
#include <limits>
#include <map>
#include <string_view>
#include <utility>
#include <vector>

// What is counted are billionths of a byte: a rate in bytes per second is as many of them per nanosecond, and whole
// numbers are the same in every build.

namespace astra::sim {
namespace {

using p2p::content_address;
using p2p::engine_event;
using p2p::peer_endpoint;
using id_type = std::uint32_t;

namespace event = p2p::event;

constexpr id_type nobody = std::numeric_limits<id_type>::max();
constexpr std::uint64_t nano = 1'000'000'000;
constexpr std::string_view resume_head = "sim-resume ";

__extension__ using wide = __int128;

/// Bytes, and billionths of the next one.
struct tally {
  std::uint64_t bytes = 0;
  std::uint64_t rest = 0;

  void add(std::uint64_t nano_bytes) {
    rest += nano_bytes;
    bytes += rest / nano;
    rest %= nano;
  }
};

/// Things that come and go, known by a number and how often that was given before.
template <class T>
class pool {
public:
  id_type add(T what) {
    if (free_.empty()) {
      items_.push_back({std::move(what), 0, true});
      return static_cast<id_type>(items_.size() - 1);
    }
    auto id = free_.back();
    free_.pop_back();
    items_[id].what = std::move(what);
    items_[id].used = true;
    return id;
  }
  void erase(id_type id) {
    items_[id].what = T{};
    items_[id].used = false;
    ++items_[id].generation;
    free_.push_back(id);
  }
  T& operator[](id_type id) { return items_[id].what; }
  std::uint32_t generation(id_type id) const { return items_[id].generation; }
  bool has(id_type id, std::uint32_t generation) const {
    return items_[id].used && items_[id].generation == generation;
  }
  bool has(id_type id) const { return items_[id].used; }
  id_type size() const { return static_cast<id_type>(items_.size()); }

private:
  struct item {
    T what;
    std::uint32_t generation = 0;
    bool used = false;
  };
  /// References to them stay good.
  std::deque<item> items_;
  std::vector<id_type> free_;
};

struct reference {
  id_type id = nobody;
  std::uint32_t generation = 0;
};

/// A set of pieces, as words: most of what is asked of it is asked of many at a time.
class piece_set {
public:
  piece_set() = default;
  explicit piece_set(std::size_t pieces) : words_((pieces + 63) / 64) {}

  bool has(std::uint32_t piece) const { return (words_[piece / 64] >> (piece % 64) & 1U) != 0; }
  void set(std::uint32_t piece) { words_[piece / 64] |= std::uint64_t{1} << (piece % 64); }
  void clear(std::uint32_t piece) { words_[piece / 64] &= ~(std::uint64_t{1} << (piece % 64)); }
  const std::vector<std::uint64_t>& words() const { return words_; }

private:
  std::vector<std::uint64_t> words_;
};

template <class Action>
void for_each(const piece_set& pieces, Action action) {
  auto& words = pieces.words();
  for (std::size_t word = 0; word < words.size(); ++word)
    for (auto bits = words[word]; bits != 0; bits &= bits - 1)
      action(static_cast<std::uint32_t>(word * 64 + static_cast<std::size_t>(std::countr_zero(bits))));
}

/// A piece on its way, or asked for.
struct flow {
  enum class stage : std::uint8_t { waits, leaves, arrives, lands };

  id_type link = nobody;
  /// The end of the link that it goes to.
  std::uint8_t to = 0;
  stage now = stage::waits;
  /// Its bytes are right.
  bool right = true;
  std::uint32_t piece = 0;
  std::uint64_t bytes = 0;
  /// Billionths of a byte: still to be sent, or before it in the receiver's queue.
  std::uint64_t left = 0;
  std::uint64_t rate = 0;
};

struct link {
  struct end {
    id_type seat = nobody;
    /// Of the other one, as this one sees it.
    peer_endpoint who;
    /// What it has asked for.
    std::vector<id_type> flows;
    bool open = true;
  };
  std::array<end, 2> ends;
  std::int64_t latency = 0;
  bool active = false;
  /// Since when nothing passes, or one end is gone.
  std::int64_t since = 0;
};

/// A content in an engine.
struct seat {
  id_type member = nobody;
  std::shared_ptr<const p2p::content> what;
  std::uint32_t pieces = 0;
  std::uint32_t held = 0;
  /// Known: which pieces are there.
  bool checked = false;
  bool failed = false;
  /// It was added as complete.
  bool trusted = false;
  piece_set have;
  piece_set requested;
  /// What the others know of.
  piece_set announced;
  std::vector<std::uint32_t> fresh;
  bool announces = false;
  /// How many of the connected peers have it; not kept up once it has all.
  std::vector<std::uint16_t> holders;
  std::optional<piece_set> stripe;
  /// By urgency.
  std::vector<std::uint32_t> urgent;
  std::vector<id_type> links;
  /// What it has asked for, over all links.
  std::vector<id_type> flows;
  std::uint64_t picks = 0;
  tally uploaded;
  tally downloaded;
  tally wasted;
  // As told in the last progress.
  bool changed = true;
  std::int64_t told_at = 0;
  std::uint64_t told_uploaded = 0;
  std::uint64_t told_downloaded = 0;
  std::uint64_t upload_rate = 0;
  std::uint64_t download_rate = 0;
  /// When resume data was asked for last.
  std::uint32_t resumed = nobody;

  bool complete() const { return checked && held == pieces; }
  bool fetches() const { return checked && !failed && held < pieces; }
  bool serves() const { return checked && !failed; }
};

struct traffic {
  tally sent;
  tally received;
  /// Engines that there were.
  std::uint32_t lives = 0;
};

/// One life of an engine.
struct member {
  sim_swarm_network::place at;
  bool open = false;
  /// It went without a word.
  bool lost = false;
  std::uint64_t uplink = 0;
  std::uint64_t downlink = 0;
  p2p::engine_limits limits;
  std::vector<peer_endpoint> allowed;
  std::map<content_address, id_type> seats;
  std::vector<engine_event> events;
  traffic* count = nullptr;
  /// Which engine of its machine.
  std::uint32_t life = 0;
  std::uint64_t dials = 0;

  // The uplink.
  std::deque<reference> queue;
  std::vector<id_type> leaving;
  std::int64_t left_at = 0;
  std::optional<std::int64_t> leaves_armed;

  // The downlink.
  std::uint64_t arrival = 0;
  std::uint64_t backlog = 0;
  std::deque<id_type> arriving;
  std::int64_t arrived_at = 0;
  std::optional<std::int64_t> arrives_armed;

  std::uint64_t up() const {
    return limits.upload_bytes_per_s == 0 ? uplink : std::min(uplink, limits.upload_bytes_per_s);
  }
  /// 0: no bound.
  std::uint64_t down() const {
    if (limits.download_bytes_per_s == 0 || downlink == 0)
      return std::max(downlink, limits.download_bytes_per_s);
    return std::min(downlink, limits.download_bytes_per_s);
  }
  bool idle() const { return leaving.empty() && queue.empty(); }
};

/// A connection that is being made.
struct dial {
  reference from;
  peer_endpoint where;
  std::int64_t began = 0;
  std::int64_t latency = 0;
  std::string failure;
};

enum class step : std::uint8_t {
  check,
  leave,
  arrive,
  land,
  announce,
  dial,
  dial_failed,
  end_known,
  silence,
};

struct happening {
  step what = step::check;
  std::uint8_t side = 0;
  reference whom;
};

} // namespace

class sim_swarm_network::impl {
public:
  impl(sim_swarm_options options, const draws& chance, hooks world)
    : options_(std::move(options)), chance_(chance), world_(std::move(world)) {
    assert(options_.slots > 0 && options_.requests_per_peer > 0 && options_.uplink_bytes_per_s > 0);
  }

  // -- engines -----------------------------------------------------------------

  id_type open(place what) {
    now_ = world_.now().count();
    assert(!by_endpoint_.contains(what.where));
    member added;
    added.open = true;
    added.uplink = what.uplink_bytes_per_s > 0 ? what.uplink_bytes_per_s : options_.uplink_bytes_per_s;
    added.downlink = what.downlink_bytes_per_s > 0 ? what.downlink_bytes_per_s : options_.downlink_bytes_per_s;
    added.count = &traffic_[what.machine];
    added.life = ++added.count->lives;
    added.left_at = added.arrived_at = now_;
    added.at = std::move(what);
    auto id = members_.add(std::move(added));
    auto& who = members_[id];
    by_endpoint_.emplace(who.at.where, id);
    machine_at_[who.at.where.address] = who.at.machine;
    tell(who, event::listening{who.at.where});
    return id;
  }

  void close(id_type id) {
    begin();
    auto& who = members_[id];
    who.open = false;
    who.at.notify = nullptr;
    by_endpoint_.erase(who.at.where);
    for (auto& [address, place] : std::exchange(who.seats, {}))
      leave(place);
    assert(who.leaving.empty() && who.arriving.empty());
    // Its links may be known to others for a while, but it is not.
    members_.erase(id);
    end();
  }

  void add(id_type id, p2p::add_request request) {
    begin();
    auto& who = members_[id];
    auto& what = *request.what;
    if (who.seats.contains(what.address)) {
      tell(who, event::failed{what.address, {p2p::fault::busy, "it is in the engine already"}});
      return end();
    }
    seat added;
    added.member = id;
    added.what = request.what;
    added.pieces = static_cast<std::uint32_t>(what.piece_hashes.size());
    added.have = added.requested = added.announced = piece_set{added.pieces};
    added.holders.resize(added.pieces);
    added.trusted = request.complete;
    added.told_at = now_;
    auto known = request.complete;
    auto take = [&](const std::vector<bool>& flags) {
      known = true;
      for (std::uint32_t piece = 0; piece < added.pieces; ++piece)
        if (flags[piece])
          added.have.set(piece);
    };
    if (request.complete)
      take(std::vector<bool>(added.pieces, true));
    else if (request.good_pieces.size() == added.pieces)
      take(request.good_pieces);
    else if (auto resumed = read_resume(request.resume, what.address, added.pieces))
      take(*resumed);
    if (known)
      for (auto& run : request.blocks)
        if (run.piece < added.pieces && run.count == blocks_of(what))
          added.have.set(run.piece);
    auto place = seats_.add(std::move(added));
    who.seats.emplace(what.address, place);
    if (request.shuffled_by)
      shuffle(seats_[place], *request.shuffled_by);
    else
      set_stripe(seats_[place], request.preferred);
    auto look = known ? 0 : static_cast<std::int64_t>(what.size * 1000 / (options_.check_bytes_per_s / 1'000'000 + 1));
    schedule(now_ + look, {step::check, static_cast<std::uint8_t>(known ? 1 : 0), ref(seats_, place)});
    connect(place, request.peers);
    end();
  }

  void remove(id_type id, const content_address& address) {
    begin();
    auto& who = members_[id];
    if (auto found = who.seats.find(address); found != who.seats.end()) {
      auto place = found->second;
      who.seats.erase(found);
      leave(place);
      tell(who, event::removed{address});
    }
    end();
  }

  void set_peers(id_type id, const std::vector<peer_endpoint>& allowed) {
    begin();
    auto& who = members_[id];
    who.allowed.clear();
    for (auto& peer : allowed)
      if (peer.address.empty() || peer.port == 0)
        tell(who, event::peer_refused{peer});
      else
        who.allowed.push_back(peer);
    std::ranges::sort(who.allowed);
    for (auto& [address, place] : who.seats)
      for (auto number : std::vector{seats_[place].links}) {
        auto side = side_of(links_[number], place);
        auto& who_else = links_[number].ends[side].who;
        if (!allows(who, who_else.address)) {
          tell(who, event::peer_left{address, who_else, "no longer allowed"});
          detach(number, side, options_.latency_max.count());
        }
      }
    end();
  }

  void inject(id_type id, const content_address& address, const std::vector<peer_endpoint>& peers) {
    begin();
    auto& who = members_[id];
    if (auto found = who.seats.find(address); found != who.seats.end())
      connect(found->second, peers);
    end();
  }

  /// There are no NATs: who is there sees everybody where he listens.
  void probe(id_type id, const peer_endpoint& node) {
    begin();
    auto& who = members_[id];
    auto machine = machine_at_.find(node.address);
    if (by_endpoint_.contains(node) && machine != machine_at_.end() && passes(who.at.machine, machine->second))
      tell(who, event::mapped{node, who.at.where});
    end();
  }

  /// Nothing is closed.
  void open_hole(id_type id, const peer_endpoint& peer) {
    begin();
    if (auto& who = members_[id]; !std::ranges::binary_search(who.allowed, peer))
      tell(who, event::peer_refused{peer});
    end();
  }

  /// Nobody has bytes here: those of a piece are its hash.
  void add_piece(id_type id, const content_address& address, std::uint32_t piece, const std::vector<char>& data) {
    begin();
    auto& who = members_[id];
    if (auto found = who.seats.find(address); found != who.seats.end())
      take(found->second, piece, data);
    end();
  }

  void prefer(id_type id, const content_address& address, const std::optional<p2p::stripe>& preferred) {
    begin();
    auto& who = members_[id];
    if (auto found = who.seats.find(address); found != who.seats.end())
      set_stripe(seats_[found->second], preferred);
    end();
  }

  void set_deadlines(id_type id, const content_address& address, std::vector<p2p::piece_deadline> deadlines) {
    begin();
    auto& who = members_[id];
    if (auto found = who.seats.find(address); found != who.seats.end()) {
      auto& what = seats_[found->second];
      std::ranges::stable_sort(deadlines, {}, &p2p::piece_deadline::within);
      what.urgent.clear();
      for (auto& deadline : deadlines)
        if (deadline.piece < what.pieces)
          what.urgent.push_back(deadline.piece);
      pump(found->second);
    }
    end();
  }

  void set_limits(id_type id, const p2p::engine_limits& limits) {
    begin();
    auto& who = members_[id];
    flow_out(who);
    flow_in(who);
    who.limits = limits;
    start_next(id);
    share(id);
    arm_arrivals(id);
    end();
  }

  void request_progress(id_type id) {
    begin();
    auto& who = members_[id];
    flow_out(who);
    for (auto& [address, place] : who.seats) {
      auto& what = seats_[place];
      auto passed = now_ - what.told_at;
      if (passed >= 100'000'000) {
        auto rate = [&](std::uint64_t bytes, std::uint64_t before) {
          return static_cast<std::uint64_t>(static_cast<wide>(bytes - before) * nano / passed);
        };
        what.changed = what.changed || what.upload_rate > 0 || what.download_rate > 0;
        what.upload_rate = rate(what.uploaded.bytes, what.told_uploaded);
        what.download_rate = rate(what.downloaded.bytes, what.told_downloaded);
        what.told_at = now_;
        what.told_uploaded = what.uploaded.bytes;
        what.told_downloaded = what.downloaded.bytes;
      }
      if (!what.checked || (!what.changed && what.upload_rate == 0 && what.download_rate == 0))
        continue;
      what.changed = false;
      event::progress told;
      told.address = address;
      told.have = flags_of(what.have, what.pieces);
      told.upload_bytes_per_s = what.upload_rate;
      told.download_bytes_per_s = what.download_rate;
      told.uploaded_bytes = what.uploaded.bytes;
      told.downloaded_bytes = what.downloaded.bytes;
      told.wasted_bytes = what.wasted.bytes;
      told.peers = static_cast<std::uint32_t>(what.links.size());
      tell(who, std::move(told));
    }
    end();
  }

  void request_resume(id_type id, const content_address& address) {
    begin();
    auto& who = members_[id];
    if (auto found = who.seats.find(address); found != who.seats.end() && seats_[found->second].checked) {
      auto& what = seats_[found->second];
      event::resume_ready told{address, {}};
      if (std::exchange(what.resumed, what.held) != what.held)
        told.data = write_resume(what);
      tell(who, std::move(told));
    }
    end();
  }

  std::vector<engine_event> drain(id_type id) { return std::exchange(members_[id].events, {}); }

  // -- the world ---------------------------------------------------------------

  void advance() {
    auto until = world_.now().count();
    while (queue_.next_time() <= until) {
      auto next = queue_.pop();
      now_ = next.time;
      ++steps_;
      happen(next.payload);
    }
    now_ = until;
    end();
  }

  std::optional<instant> next_due() {
    if (queue_.empty())
      return std::nullopt;
    return instant{queue_.next_time()};
  }

  void links_changed() {
    begin();
    for (id_type number = 0; number < links_.size(); ++number) {
      if (!links_.has(number))
        continue;
      auto& what = links_[number];
      if (!what.ends[0].open || !what.ends[1].open)
        continue;
      auto good = passes(number);
      if (good && !what.active)
        resume(number);
      else if (!good && what.active) {
        suspend(number);
        what.since = now_;
        schedule(now_ + options_.silence.count(), {step::silence, 0, ref(links_, number)});
      }
    }
    end();
  }

  void lose(std::uint32_t machine) {
    for (id_type id = 0; id < members_.size(); ++id)
      if (members_.has(id) && members_[id].at.machine == machine)
        members_[id].lost = true;
  }

  void reseed(const draws& chance) { chance_ = chance; }

  // Looking changes nothing: who is looked at and who is not live the same life.

  std::uint64_t sent_bytes(std::uint32_t machine) {
    auto result = traffic_[machine].sent;
    for (id_type id = 0; id < members_.size(); ++id)
      if (members_.has(id) && members_[id].at.machine == machine)
        result.add(leaving_since(members_[id]));
    return result.bytes;
  }

  std::uint64_t received_bytes(std::uint32_t machine) {
    auto result = traffic_[machine].received;
    for (id_type id = 0; id < members_.size(); ++id)
      if (members_.has(id) && members_[id].at.machine == machine)
        result.add(through_since(members_[id], world_.now().count()).first);
    return result.bytes;
  }

  std::uint64_t sent_bytes() {
    std::uint64_t result = 0;
    for (auto& [machine, what] : traffic_)
      result += what.sent.bytes;
    tally more;
    for (id_type id = 0; id < members_.size(); ++id)
      if (members_.has(id))
        more.add(leaving_since(members_[id]));
    return result + more.bytes;
  }

  std::uint64_t steps() const { return steps_; }

private:
  template <class T>
  static reference ref(const pool<T>& from, id_type id) {
    return {id, from.generation(id)};
  }

  /// Before anything that comes from outside: what was due earlier happens first.
  void begin() { advance(); }

  void end() {
    auto next = queue_.next_time();
    if (queue_.empty() || (woken_ && *woken_ <= next && *woken_ > now_))
      return;
    woken_ = next;
    if (world_.wake)
      world_.wake(instant{next});
  }

  void schedule(std::int64_t when, happening what) { queue_.push(when, ++ties_, std::move(what)); }

  void tell(member& who, engine_event what) {
    who.events.push_back(std::move(what));
    if (who.events.size() == 1 && who.at.notify)
      who.at.notify();
  }

  member& owner(const seat& of) { return members_[of.member]; }

  static std::uint8_t side_of(const link& what, id_type place) { return what.ends[0].seat == place ? 0 : 1; }

  static std::vector<bool> flags_of(const piece_set& pieces, std::uint32_t count) {
    std::vector<bool> result(count);
    for_each(pieces, [&](auto piece) { result[piece] = true; });
    return result;
  }

  /// Of each piece: of the last ones of files some are no bytes of theirs.
  static std::uint32_t blocks_of(const p2p::content& what) { return what.piece_size / p2p::block_size; }

  static std::vector<char> write_resume(const seat& what) {
    auto text = fmt::format("{}{} ", resume_head, to_string(what.what->address));
    for (std::uint32_t piece = 0; piece < what.pieces; ++piece)
      text += what.have.has(piece) ? '1' : '0';
    return {text.begin(), text.end()};
  }

  static std::optional<std::vector<bool>> read_resume(const std::vector<char>& data, const content_address& address,
                                                      std::uint32_t pieces) {
    std::string_view text{data.data(), data.size()};
    auto head = fmt::format("{}{} ", resume_head, to_string(address));
    if (!text.starts_with(head) || text.size() != head.size() + pieces)
      return std::nullopt;
    std::vector<bool> result;
    for (auto c : text.substr(head.size()))
      result.push_back(c == '1');
    return result;
  }

  /// In two parts, each in the order of what is rarest.
  static void shuffle(seat& what, std::uint64_t seed) {
    what.stripe.emplace(what.pieces);
    auto priorities = p2p::shuffled_priorities(seed, what.pieces);
    for (std::uint32_t piece = 0; piece < what.pieces; ++piece)
      if (priorities[piece] > 4)
        what.stripe->set(piece);
  }

  static void set_stripe(seat& what, const std::optional<p2p::stripe>& preferred) {
    what.stripe.reset();
    if (!preferred)
      return;
    what.stripe.emplace(what.pieces);
    for (std::uint32_t piece = 0; piece < what.pieces; ++piece)
      if (preferred->has(piece))
        what.stripe->set(piece);
  }

  /// What is on the disk; null: nothing of it any more.
  sim_contents::kept* on_disk(const seat& what) {
    auto& all = owner(what).at.disk->contents.all;
    auto found = all.find(what.what->address);
    return found == all.end() ? nullptr : &found->second;
  }

  std::uint64_t draw(std::uint64_t bound, std::uint64_t subject, std::uint64_t counter) const {
    return chance_.below(bound, draw_kind::content, subject, counter);
  }

  std::int64_t draw_latency(std::uint64_t subject, std::uint64_t counter) const {
    return log_uniform(options_.latency_min, options_.latency_max, chance_.unit(draw_kind::content, subject, counter))
        .count();
  }

  bool passes(std::uint32_t a, std::uint32_t b) const {
    return !world_.passes || (world_.passes(a, b) && world_.passes(b, a));
  }
  bool passes(id_type number) {
    auto& what = links_[number];
    return passes(owner(seats_[what.ends[0].seat]).at.machine, owner(seats_[what.ends[1].seat]).at.machine);
  }

  static bool allows(const member& who, const std::string& address) {
    auto found = std::ranges::lower_bound(who.allowed, address, {}, &peer_endpoint::address);
    return found != who.allowed.end() && found->address == address;
  }

  void happen(const happening& next) {
    auto& whom = next.whom;
    switch (next.what) {
    case step::check:
      if (seats_.has(whom.id, whom.generation))
        on_checked(whom.id, next.side != 0);
      break;
    case step::leave:
      if (members_.has(whom.id, whom.generation))
        on_left(whom.id);
      break;
    case step::arrive:
      if (members_.has(whom.id, whom.generation))
        on_arrived(whom.id);
      break;
    case step::land:
      if (flows_.has(whom.id, whom.generation))
        on_landed(whom.id);
      break;
    case step::announce:
      if (seats_.has(whom.id, whom.generation))
        on_announce(whom.id);
      break;
    case step::dial:
      on_dial(whom.id);
      break;
    case step::dial_failed:
      on_dial_failed(whom.id);
      break;
    case step::end_known:
      if (links_.has(whom.id, whom.generation))
        on_end(whom.id, next.side, "the other end closed it");
      break;
    case step::silence:
      if (links_.has(whom.id, whom.generation))
        on_silence(whom.id);
      break;
    }
  }

  // -- contents ----------------------------------------------------------------

  void on_checked(id_type place, bool known) {
    auto& what = seats_[place];
    auto& who = owner(what);
    auto* disk = on_disk(what);
    if (!disk && !what.trusted)
      return fail(place, {p2p::fault::missing, "its files are gone"});
    if (!known)
      for (std::uint32_t piece = 0; piece < what.pieces; ++piece)
        if (disk->right[piece])
          what.have.set(piece);
    what.checked = true;
    for_each(what.have, [&](auto) { ++what.held; });
    tell(who, event::checked{what.what->address});
    if (what.complete())
      tell(who, event::content_finished{what.what->address});
    if (what.links.empty())
      what.announced = what.have;
    else
      for_each(what.have, [&](auto piece) { announce(place, piece); });
    pump(place);
  }

  void fail(id_type place, p2p::problem why) {
    auto& what = seats_[place];
    what.failed = true;
    tell(owner(what), event::failed{what.what->address, std::move(why)});
    drop_links(place);
  }

  void drop_links(id_type place) {
    for (auto number : std::vector{seats_[place].links})
      detach(number, side_of(links_[number], place), links_[number].latency);
  }

  /// It is in its engine no more.
  void leave(id_type place) {
    auto& what = seats_[place];
    auto lost = owner(what).lost;
    for (auto number : std::vector{what.links})
      detach(number, side_of(links_[number], place), lost ? options_.silence.count() : links_[number].latency);
    seats_.erase(place);
  }

  void announce(id_type place, std::uint32_t piece) {
    auto& what = seats_[place];
    what.fresh.push_back(piece);
    if (std::exchange(what.announces, true))
      return;
    schedule(now_ + draw_latency(subject_of(what), ++what.picks), {step::announce, 0, ref(seats_, place)});
  }

  void on_announce(id_type place) {
    auto& what = seats_[place];
    what.announces = false;
    for (auto piece : what.fresh)
      what.announced.set(piece);
    for (std::size_t i = 0; i < what.links.size(); ++i) {
      auto number = what.links[i];
      auto& way = links_[number];
      if (!way.active)
        continue;
      auto side = side_of(way, place);
      auto& other = seats_[way.ends[1 - side].seat];
      if (other.complete())
        continue;
      for (auto piece : what.fresh)
        ++other.holders[piece];
      request(number, static_cast<std::uint8_t>(1 - side));
    }
    what.fresh.clear();
  }

  // -- connections -------------------------------------------------------------

  void connect(id_type place, const std::vector<peer_endpoint>& peers) {
    auto& what = seats_[place];
    auto& who = owner(what);
    for (auto& peer : peers) {
      if (!std::ranges::binary_search(who.allowed, peer)) {
        tell(who, event::peer_refused{peer});
        continue;
      }
      if (what.failed || std::ranges::any_of(what.links, [&](auto number) {
            auto& way = links_[number];
            auto& end = way.ends[side_of(way, place)];
            return end.who == peer && end.open;
          }))
        continue;
      auto latency = draw_latency(subject_of(who), ++who.dials);
      auto id = dials_.add({ref(seats_, place), peer, now_, latency, {}});
      schedule(now_ + latency, {step::dial, 0, {id, 0}});
    }
  }

  void on_dial(id_type id) {
    auto& made = dials_[id];
    auto fail_at = [&](std::int64_t when, std::string why) {
      made.failure = std::move(why);
      schedule(std::max(now_, when), {step::dial_failed, 0, {id, 0}});
    };
    if (!seats_.has(made.from.id, made.from.generation))
      return dials_.erase(id);
    auto place = made.from.id;
    auto& from = owner(seats_[place]);
    auto late = made.began + options_.dial_timeout.count();
    auto machine = machine_at_.find(made.where.address);
    if (machine == machine_at_.end() || !passes(from.at.machine, machine->second))
      return fail_at(late, "timed out");
    auto found = by_endpoint_.find(made.where);
    if (found == by_endpoint_.end())
      return fail_at(now_ + made.latency, "connection refused");
    auto& to = members_[found->second];
    // What a connection goes out from is no port that anybody named.
    peer_endpoint caller{from.at.where.address,
                         static_cast<std::uint16_t>(32768 + from.at.machine * 7 % 1000 + ++callers_ % 27'000)};
    if (!allows(to, caller.address)) {
      tell(to, event::peer_refused{caller});
      return fail_at(now_ + made.latency, "connection reset");
    }
    auto& address = seats_[place].what->address;
    auto target = to.seats.find(address);
    if (target == to.seats.end() || seats_[target->second].failed)
      return fail_at(now_ + made.latency, "the other end does not have the content");
    auto known = std::ranges::any_of(seats_[place].links, [&](auto number) {
      auto& way = links_[number];
      return way.ends[1 - side_of(way, place)].seat == target->second && way.ends[0].open && way.ends[1].open;
    });
    if (!known) {
      link added;
      added.ends[0] = {place, made.where, {}, true};
      added.ends[1] = {target->second, caller, {}, true};
      added.latency = made.latency;
      added.since = now_;
      auto number = links_.add(std::move(added));
      for (auto end : {place, target->second}) {
        seats_[end].links.push_back(number);
        seats_[end].changed = true;
      }
      resume(number);
    }
    dials_.erase(id);
  }

  void on_dial_failed(id_type id) {
    auto& made = dials_[id];
    if (seats_.has(made.from.id, made.from.generation)) {
      auto& from = seats_[made.from.id];
      tell(owner(from), event::peer_left{from.what->address, made.where, made.failure});
    }
    dials_.erase(id);
  }

  /// Something passes on it again.
  void resume(id_type number) {
    auto& what = links_[number];
    assert(!what.active);
    what.active = true;
    for (auto side : {0, 1}) {
      auto& here = seats_[what.ends[side].seat];
      if (!here.complete())
        for_each(seats_[what.ends[1 - side].seat].announced, [&](auto piece) { ++here.holders[piece]; });
    }
    request(number, 0);
    request(number, 1);
  }

  void suspend(id_type number) {
    auto& what = links_[number];
    if (!std::exchange(what.active, false))
      return;
    for (auto side : {0, 1}) {
      auto place = what.ends[side].seat;
      auto& here = seats_[place];
      if (!here.complete())
        for_each(seats_[what.ends[1 - side].seat].announced, [&](auto piece) { --here.holders[piece]; });
      auto& flows = what.ends[side].flows;
      if (flows.empty())
        continue;
      while (!flows.empty())
        cancel(flows.back());
      // Others may have it.
      pump(place);
    }
  }

  /// One end closes it; the other one learns of it after a while.
  void detach(id_type number, std::uint8_t side, std::int64_t after) {
    suspend(number);
    auto& what = links_[number];
    auto& end = what.ends[side];
    assert(end.open);
    end.open = false;
    auto& here = seats_[end.seat];
    std::erase(here.links, number);
    here.changed = true;
    auto& other = what.ends[1 - side];
    if (!other.open)
      return links_.erase(number);
    schedule(now_ + after, {step::end_known, static_cast<std::uint8_t>(1 - side), ref(links_, number)});
  }

  void on_end(id_type number, std::uint8_t side, const char* why) {
    auto& what = links_[number];
    if (!what.ends[side].open)
      return;
    auto& here = seats_[what.ends[side].seat];
    tell(owner(here), event::peer_left{here.what->address, what.ends[side].who, why});
    what.ends[side].open = false;
    std::erase(here.links, number);
    here.changed = true;
    if (!what.ends[1 - side].open)
      links_.erase(number);
  }

  void on_silence(id_type number) {
    auto& what = links_[number];
    if (what.active || now_ - what.since < options_.silence.count())
      return;
    auto both = what.ends[0].open && what.ends[1].open;
    if (what.ends[0].open)
      on_end(number, 0, "timed out");
    if (both)
      on_end(number, 1, "timed out");
  }

  // -- pieces ------------------------------------------------------------------

  static std::uint64_t subject_of(const member& who) { return std::uint64_t{who.at.machine} << 32 | who.life; }

  /// Draws of one content say nothing about those of another.
  std::uint64_t subject_of(const seat& what) {
    std::uint64_t address = 0;
    std::memcpy(&address, what.what->address.bytes.data(), sizeof(address));
    return subject_of(owner(what)) ^ address;
  }

  /// Asks for whatever can be asked for.
  void pump(id_type place) {
    auto& what = seats_[place];
    for (std::size_t i = 0; what.fetches() && i < what.links.size(); ++i)
      request(what.links[i], side_of(links_[what.links[i]], place));
  }

  void request(id_type number, std::uint8_t side) {
    auto& way = links_[number];
    auto other = way.ends[1 - side].seat;
    // Whatever is asked for may end all of it.
    while (way.active && way.ends[side].flows.size() < options_.requests_per_peer) {
      auto& me = seats_[way.ends[side].seat];
      auto& from = seats_[other];
      if (!me.fetches() || !from.serves())
        return;
      auto piece = pick(me, from);
      if (!piece && owner(from).idle())
        piece = take_over(me, other);
      if (!piece)
        return;
      ask(number, side, *piece);
    }
  }

  /// What to ask of a peer: what is urgent, then what is of the stripe, then anything; of these the rarest.
  std::optional<std::uint32_t> pick(seat& me, const seat& from) {
    for (auto piece : me.urgent)
      if (from.announced.has(piece) && !me.have.has(piece) && !me.requested.has(piece))
        return piece;
    if (me.stripe)
      if (auto piece = rarest(me, from, &*me.stripe))
        return piece;
    return rarest(me, from, nullptr);
  }

  std::optional<std::uint32_t> rarest(seat& me, const seat& from, const piece_set* within) {
    auto best = std::numeric_limits<std::uint16_t>::max();
    candidates_.clear();
    auto& offered = from.announced.words();
    auto& have = me.have.words();
    auto& requested = me.requested.words();
    for (std::size_t word = 0; word < offered.size(); ++word) {
      auto bits = offered[word] & ~have[word] & ~requested[word];
      if (within)
        bits &= within->words()[word];
      for (; bits != 0; bits &= bits - 1) {
        auto piece = static_cast<std::uint32_t>(word * 64 + static_cast<std::size_t>(std::countr_zero(bits)));
        auto holders = me.holders[piece];
        if (holders > best)
          continue;
        if (holders < best)
          candidates_.clear();
        best = holders;
        candidates_.push_back(piece);
      }
    }
    if (candidates_.empty())
      return std::nullopt;
    if (candidates_.size() == 1)
      return candidates_.front();
    return candidates_[draw(candidates_.size(), subject_of(me), ++me.picks)];
  }

  /// The end of a fetch: everything is asked for, and somebody has nothing to do.  What waits elsewhere, or would take
  /// much longer there, is asked of him instead.
  std::optional<std::uint32_t> take_over(seat& me, id_type other) {
    auto& from = seats_[other];
    auto& idle = owner(from);
    for (auto id : me.flows) {
      auto& what = flows_[id];
      if (!from.announced.has(what.piece) || links_[what.link].ends[1 - what.to].seat == other)
        continue;
      auto slow = what.now == flow::stage::waits;
      if (what.now == flow::stage::leaves) {
        flow_out(owner(seats_[links_[what.link].ends[1 - what.to].seat]));
        slow = static_cast<wide>(what.left) * idle.up() > static_cast<wide>(what.bytes) * nano * what.rate * 2;
      }
      if (!slow)
        continue;
      auto piece = what.piece;
      cancel(id);
      return piece;
    }
    return std::nullopt;
  }

  void ask(id_type number, std::uint8_t side, std::uint32_t piece) {
    auto& way = links_[number];
    auto& me = seats_[way.ends[side].seat];
    flow added;
    added.link = number;
    added.to = side;
    added.piece = piece;
    added.bytes = length_of(*me.what, piece);
    auto id = flows_.add(added);
    way.ends[side].flows.push_back(id);
    me.flows.push_back(id);
    me.requested.set(piece);
    auto sender = seats_[way.ends[1 - side].seat].member;
    members_[sender].queue.push_back(ref(flows_, id));
    if (start_next(sender))
      share(sender);
  }

  static std::uint64_t length_of(const p2p::content& what, std::uint32_t piece) {
    auto& file = p2p::file_of(what, piece);
    return p2p::piece_length(what, file, piece - file.first_piece);
  }

  /// Forgets what was asked for, wherever it is.
  void cancel(id_type id) {
    auto& what = flows_[id];
    auto& way = links_[what.link];
    auto& me = seats_[way.ends[what.to].seat];
    auto sender = seats_[way.ends[1 - what.to].seat].member;
    if (what.now == flow::stage::leaves) {
      auto& who = members_[sender];
      flow_out(who);
      std::erase(who.leaving, id);
      set_rate(what, 0);
      me.wasted.add(what.bytes * nano - what.left);
    } else if (what.now == flow::stage::arrives) {
      std::erase(members_[me.member].arriving, id);
      me.wasted.add(what.bytes * nano);
    } else if (what.now == flow::stage::lands) {
      me.wasted.add(what.bytes * nano);
    }
    auto left = what.now == flow::stage::leaves;
    forget(id);
    if (left) {
      start_next(sender);
      share(sender);
    }
  }

  void forget(id_type id) {
    auto& what = flows_[id];
    auto& end = links_[what.link].ends[what.to];
    auto& me = seats_[end.seat];
    std::erase(end.flows, id);
    std::erase(me.flows, id);
    me.requested.clear(what.piece);
    flows_.erase(id);
  }

  // -- the uplink --------------------------------------------------------------

  /// What left a machine since that was counted.
  std::uint64_t leaving_since(member& who) {
    auto passed = world_.now().count() - who.left_at;
    std::uint64_t result = 0;
    for (auto id : who.leaving)
      result += moved(flows_[id], passed);
    return result;
  }

  static std::uint64_t moved(const flow& what, std::int64_t passed) {
    return static_cast<std::uint64_t>(std::min<wide>(what.left, static_cast<wide>(what.rate) * passed));
  }

  /// All that leaves a machine has moved on until now.
  void flow_out(member& who) {
    auto passed = now_ - std::exchange(who.left_at, now_);
    if (passed == 0)
      return;
    for (auto id : who.leaving) {
      auto& what = flows_[id];
      auto part = moved(what, passed);
      what.left -= part;
      who.count->sent.add(part);
      seats_[links_[what.link].ends[1 - what.to].seat].uploaded.add(part);
    }
  }

  /// Fills the slots from the queue.  @returns whether any began.
  bool start_next(id_type id) {
    auto& who = members_[id];
    auto slots = std::min<std::uint64_t>(options_.slots, who.up());
    auto began = false;
    while (who.leaving.size() < slots && !who.queue.empty()) {
      auto next = who.queue.front();
      who.queue.pop_front();
      if (!flows_.has(next.id, next.generation))
        continue;
      if (!began)
        flow_out(who);
      auto& what = flows_[next.id];
      auto place = links_[what.link].ends[1 - what.to].seat;
      auto* disk = on_disk(seats_[place]);
      what.right = disk != nullptr && disk->right[what.piece];
      if (!what.right && seats_[place].trusted) {
        on_damage(place, disk);
        continue;
      }
      what.now = flow::stage::leaves;
      what.left = what.bytes * nano;
      seats_[place].changed = true;
      who.leaving.push_back(next.id);
      began = true;
    }
    return began;
  }

  /// What was added as complete is not.
  void on_damage(id_type place, const sim_contents::kept* disk) {
    auto& what = seats_[place];
    what.failed = true;
    tell(owner(what), event::damaged{what.what->address, disk ? disk->right : std::vector<bool>(what.pieces, false)});
    drop_links(place);
    what.held = 0;
    for (std::uint32_t piece = 0; piece < what.pieces; ++piece)
      if (disk && disk->right[piece])
        ++what.held;
      else
        what.have.clear(piece);
  }

  /// Divides the uplink among what leaves.
  void share(id_type id) {
    auto& who = members_[id];
    if (who.leaving.empty())
      return;
    flow_out(who);
    auto each = who.up() / who.leaving.size();
    auto more = who.up() % who.leaving.size();
    auto due = std::numeric_limits<std::int64_t>::max();
    for (std::size_t i = 0; i < who.leaving.size(); ++i) {
      auto& what = flows_[who.leaving[i]];
      set_rate(what, each + (i < more ? 1 : 0));
      if (what.rate > 0)
        due = std::min(due, now_ + static_cast<std::int64_t>((what.left + what.rate - 1) / what.rate));
    }
    if (who.leaves_armed && *who.leaves_armed <= due)
      return;
    who.leaves_armed = due;
    schedule(due, {step::leave, 0, ref(members_, id)});
  }

  void set_rate(flow& what, std::uint64_t rate) {
    if (what.rate == rate)
      return;
    auto& to = owner(seats_[links_[what.link].ends[what.to].seat]);
    flow_in(to);
    to.arrival = to.arrival - what.rate + rate;
    what.rate = rate;
  }

  void on_left(id_type id) {
    auto& who = members_[id];
    if (who.leaves_armed != now_)
      return;
    who.leaves_armed.reset();
    flow_out(who);
    auto done = false;
    for (std::size_t i = 0; i < who.leaving.size();) {
      auto flow = who.leaving[i];
      if (flows_[flow].left > 0) {
        ++i;
        continue;
      }
      who.leaving.erase(who.leaving.begin() + static_cast<std::ptrdiff_t>(i));
      done = true;
      sent(flow);
    }
    if (done)
      start_next(id);
    share(id);
    if (who.idle())
      offer(id);
  }

  /// The last byte of it has left.
  void sent(id_type id) {
    auto& what = flows_[id];
    auto receiver = seats_[links_[what.link].ends[what.to].seat].member;
    auto& to = members_[receiver];
    set_rate(what, 0);
    flow_in(to);
    if (to.backlog == 0)
      return land(id);
    what.now = flow::stage::arrives;
    what.left = to.backlog;
    to.arriving.push_back(id);
    arm_arrivals(receiver);
  }

  /// A machine has nothing to send: whoever waits elsewhere may ask it.
  void offer(id_type id) {
    auto& who = members_[id];
    for (auto& [address, place] : who.seats) {
      auto& what = seats_[place];
      for (std::size_t i = 0; who.idle() && i < what.links.size(); ++i)
        request(what.links[i], static_cast<std::uint8_t>(1 - side_of(links_[what.links[i]], place)));
    }
  }

  // -- the downlink ------------------------------------------------------------

  /// What came through a downlink since that was counted, and what waits before it now.
  static std::pair<std::uint64_t, std::uint64_t> through_since(const member& who, std::int64_t now) {
    auto passed = now - who.arrived_at;
    auto all = static_cast<wide>(who.arrival) * passed + who.backlog;
    auto bound = who.down();
    auto most = static_cast<wide>(bound) * passed;
    auto through = bound == 0 ? all : std::min(all, most);
    return {static_cast<std::uint64_t>(through), static_cast<std::uint64_t>(all - through)};
  }

  /// All that is on its way to a machine has moved on until now.
  void flow_in(member& who) {
    auto passed = now_ - who.arrived_at;
    if (passed == 0)
      return;
    auto [through, waits] = through_since(who, now_);
    who.arrived_at = now_;
    who.backlog = waits;
    who.count->received.add(through);
    for (auto id : who.arriving)
      flows_[id].left -= std::min(flows_[id].left, through);
  }

  void arm_arrivals(id_type id) {
    auto& who = members_[id];
    if (who.arriving.empty())
      return;
    auto bound = who.down();
    auto left = flows_[who.arriving.front()].left;
    auto due = now_ + (bound == 0 ? 0 : static_cast<std::int64_t>((left + bound - 1) / bound));
    if (who.arrives_armed && *who.arrives_armed <= due)
      return;
    who.arrives_armed = due;
    schedule(due, {step::arrive, 0, ref(members_, id)});
  }

  void on_arrived(id_type id) {
    auto& who = members_[id];
    if (who.arrives_armed != now_)
      return;
    who.arrives_armed.reset();
    flow_in(who);
    while (!who.arriving.empty() && (flows_[who.arriving.front()].left == 0 || who.down() == 0)) {
      auto flow = who.arriving.front();
      who.arriving.pop_front();
      land(flow);
    }
    arm_arrivals(id);
  }

  /// It is through: what is left are the request's way and its own.
  void land(id_type id) {
    auto& what = flows_[id];
    what.now = flow::stage::lands;
    schedule(now_ + 2 * links_[what.link].latency, {step::land, 0, ref(flows_, id)});
  }

  void on_landed(id_type id) {
    auto what = flows_[id];
    auto number = what.link;
    auto place = links_[number].ends[what.to].seat;
    auto& me = seats_[place];
    auto& who = owner(me);
    forget(id);
    me.changed = true;
    me.downloaded.add(what.bytes * nano);
    auto* disk = on_disk(me);
    if (!disk)
      return fail(place, {p2p::fault::missing, "its files are gone"});
    if (who.at.disk->full)
      return fail(place, {p2p::fault::no_space, "the files cannot be written: No space left on device"});
    if (!what.right) {
      me.wasted.add(what.bytes * nano);
      tell(who, event::piece_rejected{me.what->address, what.piece});
      tell(who, event::peer_banned{me.what->address, links_[number].ends[what.to].who});
      return detach(number, what.to, links_[number].latency);
    }
    keep(place, *disk, what.piece);
    if (!me.complete())
      request(number, what.to);
  }

  void keep(id_type place, sim_contents::kept& disk, std::uint32_t piece) {
    auto& me = seats_[place];
    auto& who = owner(me);
    disk.right[piece] = true;
    me.have.set(piece);
    ++me.held;
    tell(who, event::blocks_written{me.what->address, {{piece, 0, blocks_of(*me.what)}}, 0});
    tell(who, event::piece_finished{me.what->address, piece});
    announce(place, piece);
    if (me.complete())
      tell(who, event::content_finished{me.what->address});
  }

  /// A piece from elsewhere.
  void take(id_type place, std::uint32_t piece, const std::vector<char>& data) {
    auto& me = seats_[place];
    if (!me.fetches() || piece >= me.pieces || me.have.has(piece))
      return;
    auto* disk = on_disk(me);
    if (!disk)
      return fail(place, {p2p::fault::missing, "its files are gone"});
    if (owner(me).at.disk->full)
      return fail(place, {p2p::fault::no_space, "the files cannot be written: No space left on device"});
    me.changed = true;
    auto& hash = me.what->piece_hashes[piece];
    if (data.size() != hash.size() || std::memcmp(data.data(), hash.data(), hash.size()) != 0)
      return tell(owner(me), event::piece_rejected{me.what->address, piece});
    if (me.requested.has(piece))
      cancel(*std::ranges::find_if(me.flows, [&](auto id) { return flows_[id].piece == piece; }));
    keep(place, *disk, piece);
    if (!me.complete())
      pump(place);
  }

  sim_swarm_options options_;
  draws chance_;
  hooks world_;
  std::int64_t now_ = 0;
  std::optional<std::int64_t> woken_;
  std::uint64_t ties_ = 0;
  std::uint64_t steps_ = 0;
  std::uint64_t callers_ = 0;
  event_queue<happening> queue_;
  pool<member> members_;
  pool<seat> seats_;
  pool<link> links_;
  pool<flow> flows_;
  pool<dial> dials_;
  std::map<peer_endpoint, id_type> by_endpoint_;
  std::map<std::string, std::uint32_t> machine_at_;
  std::map<std::uint32_t, traffic> traffic_;
  std::vector<std::uint32_t> candidates_;
};

class sim_swarm_network::sim_engine final : public p2p::engine {
public:
  sim_engine(impl& network, id_type id) : network_(network), id_(id) {}
  ~sim_engine() override { network_.close(id_); }

  void add(p2p::add_request request) override { network_.add(id_, std::move(request)); }
  void remove(const content_address& address) override { network_.remove(id_, address); }
  void set_peers(const std::vector<peer_endpoint>& allowed) override { network_.set_peers(id_, allowed); }
  void inject(const content_address& address, const std::vector<peer_endpoint>& peers) override {
    network_.inject(id_, address, peers);
  }
  void probe(const peer_endpoint& node) override { network_.probe(id_, node); }
  void open_hole(const peer_endpoint& peer) override { network_.open_hole(id_, peer); }
  void punch(const content_address& address, const peer_endpoint& peer) override {
    network_.inject(id_, address, {peer});
  }
  void add_piece(const content_address& address, std::uint32_t piece, std::vector<char> data) override {
    network_.add_piece(id_, address, piece, data);
  }
  void prefer(const content_address& address, const std::optional<p2p::stripe>& preferred) override {
    network_.prefer(id_, address, preferred);
  }
  void set_deadlines(const content_address& address, const std::vector<p2p::piece_deadline>& deadlines) override {
    network_.set_deadlines(id_, address, deadlines);
  }
  void set_limits(const p2p::engine_limits& limits) override { network_.set_limits(id_, limits); }
  /// The links of the model are shared by all contents alike.
  void set_limits(const content_address&, const p2p::engine_limits&) override {}
  void request_progress() override { network_.request_progress(id_); }
  void request_resume(const content_address& address) override { network_.request_resume(id_, address); }
  std::vector<engine_event> drain() override { return network_.drain(id_); }

private:
  impl& network_;
  id_type id_;
};

sim_swarm_network::sim_swarm_network(sim_swarm_options options, const draws& chance, hooks world)
  : impl_(std::make_unique<impl>(std::move(options), chance, std::move(world))) {}

sim_swarm_network::~sim_swarm_network() = default;

std::unique_ptr<p2p::engine> sim_swarm_network::open(place what) {
  return std::make_unique<sim_engine>(*impl_, impl_->open(std::move(what)));
}
void sim_swarm_network::advance() {
  impl_->advance();
}
std::optional<instant> sim_swarm_network::next_due() {
  return impl_->next_due();
}
void sim_swarm_network::links_changed() {
  impl_->links_changed();
}
void sim_swarm_network::lose(std::uint32_t machine) {
  impl_->lose(machine);
}
void sim_swarm_network::reseed(const draws& chance) {
  impl_->reseed(chance);
}
std::uint64_t sim_swarm_network::sent_bytes(std::uint32_t machine) {
  return impl_->sent_bytes(machine);
}
std::uint64_t sim_swarm_network::received_bytes(std::uint32_t machine) {
  return impl_->received_bytes(machine);
}
std::uint64_t sim_swarm_network::sent_bytes() {
  return impl_->sent_bytes();
}
std::uint64_t sim_swarm_network::steps() const {
  return impl_->steps();
}

} // namespace astra::sim
