#include "p2p/libtorrent_engine.hpp"

#include "p2p/bencode.hpp"
#include "p2p/dial_turns.hpp"
#include "p2p/limits.hpp"
#include "p2p/merkle.hpp"

#include <fmt/format.h>
#include <libtorrent/add_torrent_params.hpp>
#include <libtorrent/alert_types.hpp>
#include <libtorrent/extensions.hpp>
#include <libtorrent/ip_filter.hpp>
#include <libtorrent/peer_info.hpp>
#include <libtorrent/pex_flags.hpp>
#include <libtorrent/posix_disk_io.hpp>
#include <libtorrent/read_resume_data.hpp>
#include <libtorrent/session.hpp>
#include <libtorrent/session_params.hpp>
#include <libtorrent/torrent.hpp>
#include <libtorrent/torrent_flags.hpp>
#include <libtorrent/torrent_handle.hpp>
#include <libtorrent/torrent_info.hpp>
#include <libtorrent/torrent_status.hpp>
#include <libtorrent/version.hpp>
#include <libtorrent/write_resume_data.hpp>

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <limits>
#include <map>
#include <mutex>
#include <set>
#include <stop_token>
#include <thread>

#if TORRENT_USE_ASSERTS
#error "lt::torrent is not laid out as in the library, which has no TORRENT_USE_ASSERTS; use another CMAKE_BUILD_TYPE"
#endif

namespace astra::p2p {
namespace {

using steady = std::chrono::steady_clock;
using settings = lt::settings_pack;

constexpr int connections_max = 2000;
constexpr int alerts_max = 100'000;
constexpr std::uint32_t refused = 1;
/// Between two calls of `notify`: there is an alert for each block.
constexpr std::chrono::milliseconds notify_gap{10};

/// The certificate in the torrents as libtorrent gets them when there is TLS.  It makes SSL torrents of them and that
/// is all: it is no authority's of a cluster, which may get another one while contents are there.  The public key is
/// the SHA-256 of "astra: nobody has this key" and the signature zero, so that libtorrent left to itself trusts nobody.
constexpr std::string_view ssl_mark = "-----BEGIN CERTIFICATE-----\n"
                                      "MIHOMIGBoAMCAQICAQEwBQYDK2VwMBExDzANBgNVBAMMBm5vYm9keTAeFw0wMDAx\n"
                                      "MDEwMDAwMDBaFw00OTEyMzEyMzU5NTlaMBExDzANBgNVBAMMBm5vYm9keTAqMAUG\n"
                                      "AytlcAMhABOfdcHggPAmCb1KlMOF3Hp00Mfnig9ce5wdqMa/Ay/UMAUGAytlcANB\n"
                                      "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n"
                                      "AAAAAAAAAAAAAAAAAAAAAAA=\n"
                                      "-----END CERTIFICATE-----\n";

/// Has the connections of a torrent secured, before there are any.
///
/// libtorrent itself would trust whom the certificate in the torrent has signed if one of his names is "*" or what the
/// torrent's name begins with: nodes have names of their own.  Incoming connections get to a torrent's context by the
/// info-hash, which the client names in its first message; who names none, or speaks no TLS, is refused before.
class tls_plugin final : public lt::torrent_plugin {
public:
  tls_plugin(std::shared_ptr<peer_tls> tls, const lt::torrent_handle& handle)
    : tls_(std::move(tls)), torrent_(handle.native_handle()) {
    secure();
  }
  void on_state(lt::torrent_status::state_t) override { secure(); }
  void on_files_checked() override { secure(); }

  /// lt::torrent is not the same in all versions of 2.0.
  static bool possible() { return std::string_view{lt::version()} == LIBTORRENT_VERSION; }

private:
  void secure() {
    auto torrent = torrent_.lock();
    auto* context = torrent && !secured_ && possible() ? torrent->ssl_ctx() : nullptr;
    if (!context)
      return;
    secured_ = true;
    tls_->secure(*context->native_handle());
  }

  std::shared_ptr<peer_tls> tls_;
  std::weak_ptr<lt::torrent> torrent_;
  bool secured_ = false;
};

peer_endpoint endpoint_of(const lt::tcp::endpoint& where) {
  return {where.address().to_string(), where.port()};
}

std::optional<lt::tcp::endpoint> parse(const peer_endpoint& where) {
  boost::system::error_code error;
  auto address = lt::make_address(where.address, error);
  if (error || where.port == 0)
    return std::nullopt;
  return lt::tcp::endpoint{address, where.port};
}

content_address address_of(const lt::info_hash_t& hashes) {
  content_address result;
  std::memcpy(result.bytes.data(), hashes.v2.data(), result.bytes.size());
  return result;
}

/// What a node of a DHT adds to each answer (BEP 42): the endpoint that the question came from.
std::optional<peer_endpoint> seen_by(const lt::bdecode_node& answer) {
  if (answer.type() != lt::bdecode_node::dict_t)
    return std::nullopt;
  auto bytes = answer.dict_find_string_value("ip");
  auto number = [&](std::size_t at) { return static_cast<std::uint8_t>(bytes[at]); };
  auto port = [&](std::size_t at) { return static_cast<std::uint16_t>(number(at) << 8U | number(at + 1)); };
  if (lt::address_v4::bytes_type v4; bytes.size() == v4.size() + 2) {
    std::memcpy(v4.data(), bytes.data(), v4.size());
    return peer_endpoint{lt::address_v4{v4}.to_string(), port(v4.size())};
  }
  if (lt::address_v6::bytes_type v6; bytes.size() == v6.size() + 2) {
    std::memcpy(v6.data(), bytes.data(), v6.size());
    return peer_endpoint{lt::address_v6{v6}.to_string(), port(v6.size())};
  }
  return std::nullopt;
}

fault kind_of(const lt::error_code& error) {
  if (error == boost::system::errc::no_space_on_device)
    return fault::no_space;
  return error == boost::system::errc::no_such_file_or_directory ? fault::missing : fault::io;
}

int as_setting(std::uint64_t bytes_per_s) {
  return static_cast<int>(std::min<std::uint64_t>(bytes_per_s, std::numeric_limits<int>::max()));
}

lt::ip_filter both_families(std::uint32_t flags) {
  lt::ip_filter result;
  result.add_rule(lt::make_address("0.0.0.0"), lt::make_address("255.255.255.255"), flags);
  result.add_rule(lt::make_address("::"), lt::make_address("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), flags);
  return result;
}

/// Without them libtorrent refuses contents of 200,000 files, and their resume data.
lt::load_torrent_limits parser_limits() {
  lt::load_torrent_limits result;
  result.max_buffer_size = static_cast<int>(torrent_bytes_max + ssl_mark.size() + 16);
  result.max_pieces = static_cast<int>(pieces_max);
  // Resume data has a dictionary and a list around less.
  result.max_decode_depth = torrent_depth_max;
  result.max_decode_tokens = torrent_tokens_max;
  return result;
}

/// What the study of libtorrent in a data centre came to; each one away from its default costs time or bytes.
settings baseline(const libtorrent_options& options) {
  settings result;
  for (auto off : {settings::enable_dht, settings::enable_lsd, settings::enable_upnp, settings::enable_natpmp})
    result.set_bool(off, false);
  // Several nodes behind one address.
  result.set_bool(settings::allow_multiple_connections_per_ip, true);
  // Else the last piece may wait a minute for a peer that was thought useless.
  result.set_bool(settings::close_redundant_connections, false);
  result.set_int(settings::min_reconnect_time, 3);
  // Else a peer that starts a little later than this node is given up after three dials.  Those that are named are
  // there or will be: libtorrent counts failures up to 31, and between two dials it waits as often 3 s.
  result.set_int(settings::max_failcount, 32);
  // Else fast peers ask for runs of neighbouring pieces, and all of them for the same.
  result.set_int(settings::whole_pieces_threshold, 0);
  result.set_int(settings::initial_picker_threshold, 0);
  result.set_int(settings::request_queue_time, 1);
  result.set_int(settings::unchoke_slots_limit, -1);
  result.set_int(settings::connections_limit, connections_max);
  result.set_int(settings::tick_interval, 100);
  result.set_int(settings::mixed_mode_algorithm, settings::prefer_tcp);
  // Else acknowledgements of what is received use up a low limit for what is sent, requests included.
  result.set_bool(settings::rate_limit_ip_overhead, false);
  result.set_bool(settings::enable_incoming_utp, options.utp);
  // While it is on everybody is dialled by it, whatever flags a peer has: dial_turns.
  result.set_bool(settings::enable_outgoing_utp, false);
  if (options.utp) {
    // One request and no more within this time: a hole that was late is found again sooner.  Then libtorrent tries TCP,
    // and a NAT does not answer.
    result.set_int(settings::utp_connect_timeout, 1000);
    result.set_int(settings::peer_connect_timeout, 3);
    // For pings alone: it tells the address of the socket that uTP uses.  Pings go past the filter of peers.
    result.set_bool(settings::enable_dht, true);
    result.set_str(settings::dht_bootstrap_nodes, "");
    // Else who asks more than 50 times in 10 s is not heard for 5 minutes, and a whole site may have one address.
    result.set_int(settings::dht_block_ratelimit, 1000);
    // What strangers could store; one each, as libtorrent makes room by removing one.
    for (auto stored : {settings::dht_max_torrents, settings::dht_max_dht_items, settings::dht_max_peers})
      result.set_int(stored, 1);
  }
  auto address = options.listen_address.find(':') == std::string::npos ? options.listen_address
                                                                       : "[" + options.listen_address + "]";
  auto only_tls = options.tls ? "s" : "";
  result.set_str(settings::listen_interfaces, fmt::format("{}:{}{}", address, options.listen_port, only_tls));
  if (auto any = options.listen_address == "0.0.0.0" || options.listen_address == "::"; !any)
    result.set_str(settings::outgoing_interfaces, options.listen_address);
  result.set_str(settings::user_agent, "astra");
  result.set_int(settings::alert_queue_size, alerts_max);
  namespace alerts = lt::alert_category;
  auto wanted = alerts::status | alerts::error | alerts::storage | alerts::piece_progress | alerts::ip_block
                | alerts::peer | alerts::connect | alerts::block_progress;
  result.set_int(settings::alert_mask, static_cast<int>(static_cast<std::uint32_t>(wanted)));
  return result;
}

/// Lowers limits in two steps, the second on a thread of its own: nobody need be awake for it.
class limiter {
public:
  explicit limiter(lt::session& session) : session_(session), thread_([this](std::stop_token stop) { run(stop); }) {}

  void set(const engine_limits& limits) {
    std::scoped_lock guard{mutex_};
    auto now = steady::now();
    apply(upload_.set(limits.upload_bytes_per_s, now), download_.set(limits.download_bytes_per_s, now));
    changed_.notify_one();
  }

private:
  void run(const std::stop_token& stop) {
    std::unique_lock guard{mutex_};
    while (!stop.stop_requested()) {
      auto due = std::min(upload_.due().value_or(steady::time_point::max()),
                          download_.due().value_or(steady::time_point::max()));
      if (due == steady::time_point::max()) {
        changed_.wait(guard, stop, [this] { return upload_.due() || download_.due(); });
        continue;
      }
      changed_.wait_until(guard, stop, due, [&] { return steady::now() >= due; });
      auto now = steady::now();
      if (!stop.stop_requested() && now >= due)
        apply(upload_.in_force(now), download_.in_force(now));
    }
  }

  void apply(std::uint64_t upload, std::uint64_t download) {
    settings changed;
    changed.set_int(settings::upload_rate_limit, as_setting(upload));
    changed.set_int(settings::download_rate_limit, as_setting(download));
    session_.apply_settings(std::move(changed));
  }

  lt::session& session_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  stepped_limit upload_;
  stepped_limit download_;
  /// Last: it ends before what it uses.
  std::jthread thread_;
};

/// Calls at a time, from a thread of its own.
class alarm {
public:
  explicit alarm(std::function<void()> call) : call_(std::move(call)), thread_([this] { run(); }) {}
  ~alarm() {
    {
      std::scoped_lock guard{mutex_};
      ended_ = true;
    }
    changed_.notify_one();
  }

  /// Instead of the time before.
  void set(std::optional<steady::time_point> due) {
    std::scoped_lock guard{mutex_};
    due_ = due;
    changed_.notify_one();
  }

private:
  void run() {
    std::unique_lock guard{mutex_};
    while (!ended_) {
      if (!due_) {
        changed_.wait(guard);
      } else if (auto due = *due_; steady::now() < due) {
        changed_.wait_until(guard, due);
      } else {
        due_.reset();
        call_();
      }
    }
  }

  std::function<void()> call_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<steady::time_point> due_;
  bool ended_ = false;
  /// Last: it ends before what it uses.
  std::jthread thread_;
};

/// Passes calls on, at once or as soon as the last one is long enough ago.
class bell {
public:
  explicit bell(std::function<void()> call)
    : call_(std::move(call)), later_([this] {
        {
          std::scoped_lock guard{mutex_};
          rung_ = steady::now();
          waits_ = false;
        }
        call_();
      }) {}

  void ring() {
    {
      std::scoped_lock guard{mutex_};
      if (waits_)
        return;
      auto now = steady::now();
      if (waits_ = now - rung_ < notify_gap; waits_)
        return later_.set(rung_ + notify_gap);
      rung_ = now;
    }
    call_();
  }

private:
  std::function<void()> call_;
  std::mutex mutex_;
  steady::time_point rung_;
  bool waits_ = false;
  /// Last: it ends before what it uses.
  alarm later_;
};

class libtorrent_engine final : public engine {
public:
  explicit libtorrent_engine(libtorrent_options options)
    : options_(std::move(options)), session_(start(options_)), limiter_(session_) {
    // Unless told otherwise libtorrent takes peers on private addresses out of all limits.
    session_.set_peer_class_filter(both_families(1U << static_cast<std::uint32_t>(lt::session::global_peer_class_id)));
    if (options_.notify) {
      bell_.emplace(options_.notify);
      session_.set_alert_notify([this] { bell_->ring(); });
    }
    if (options_.notify && options_.utp)
      alarm_.emplace(options_.notify);
    if (options_.tls && !tls_plugin::possible())
      report(event::engine_failed{
          {fault::unfit, fmt::format("no content can go over TLS: built for libtorrent {} and run with {}; build again",
                                     LIBTORRENT_VERSION, lt::version())}});
  }

  ~libtorrent_engine() override { session_.set_alert_notify({}); }

  void add(add_request request) override {
    auto& what = *request.what;
    auto [found, fresh] = torrents_.try_emplace(what.address);
    if (!fresh) {
      auto& former = found->second;
      if (!former.leaving || former.next)
        return report(event::failed{what.address, {fault::busy, "it is in the engine already"}});
      // When the former one is gone: until then its alerts cannot be told from this one's.
      former.next_pieces = static_cast<std::uint32_t>(what.piece_hashes.size());
      former.next = std::move(request);
      return;
    }
    found->second.pieces = static_cast<std::uint32_t>(what.piece_hashes.size());
    found->second.complete = request.complete;
    lt::add_torrent_params params;
    lt::error_code error;
    if (request.good_pieces.empty() && !request.resume.empty() && !request.complete) {
      auto resumed = lt::read_resume_data({request.resume.data(), static_cast<std::ptrdiff_t>(request.resume.size())},
                                          error, parser_limits());
      // What cannot be read, or is another content's, costs a check and no more.
      if (!error && address_of(resumed.info_hashes) == what.address)
        params = std::move(resumed);
    }
    try {
      auto wire = options_.tls ? encode_ssl_torrent(what, ssl_mark) : what.torrent;
      params.ti = std::make_shared<lt::torrent_info>(
          lt::span<const char>{wire.data(), static_cast<std::ptrdiff_t>(wire.size())}, parser_limits(), lt::from_span);
    } catch (const std::exception& wrong) {
      torrents_.erase(found);
      return report(event::failed{what.address, {fault::unfit, wrong.what()}});
    }
    found->second.info = params.ti;
    params.info_hashes = params.ti->info_hashes();
    if (options_.tls) {
      by_wire_.insert_or_assign(address_of(params.info_hashes), what.address);
      params.extensions.emplace_back([tls = options_.tls](const lt::torrent_handle& handle, lt::client_data_t) {
        return std::make_shared<tls_plugin>(tls, handle);
      });
    }
    params.save_path = save_path(what, request.place).string();
    // Neither queued behind others nor found by anybody.
    params.flags = lt::torrent_flags::update_subscribe | lt::torrent_flags::apply_ip_filter
                   | lt::torrent_flags::disable_dht | lt::torrent_flags::disable_lsd | lt::torrent_flags::disable_pex;
    if (request.complete)
      params.flags |= lt::torrent_flags::seed_mode;
    params.max_uploads = params.max_connections = params.upload_limit = params.download_limit = -1;
    auto peers = named(request.peers);
    // libtorrent dials these at once.
    if (turns_.at_rest())
      params.peers = std::move(peers);
    else
      dial_later(what.address, peers);
    params.banned_peers.clear();
    params.trackers.clear();
    params.url_seeds.clear();
    params.http_seeds.clear();
    params.renamed_files.clear();
    params.file_priorities.clear();
    if (request.good_pieces.size() == found->second.pieces && !request.complete) {
      params.have_pieces.resize(static_cast<int>(found->second.pieces), false);
      for (std::uint32_t piece = 0; piece < found->second.pieces; ++piece)
        if (request.good_pieces[piece])
          params.have_pieces.set_bit(index(piece));
    }
    params.piece_priorities =
        as_priorities(request.shuffled_by ? shuffled_priorities(*request.shuffled_by, found->second.pieces)
                                          : piece_priorities(request.preferred, found->second.pieces));
    add_blocks(params, request.blocks);
    session_.async_add_torrent(std::move(params));
  }

  void remove(const content_address& address) override {
    auto found = torrents_.find(address);
    if (found == torrents_.end())
      return;
    auto& what = found->second;
    // Whatever was asked of it, or of the one that was to follow it.
    what.waiting.clear();
    what.next.reset();
    if (std::exchange(what.leaving, true))
      return;
    if (what.added)
      leave(what);
  }

  void set_peers(const std::vector<peer_endpoint>& allowed) override {
    auto filter = both_families(refused);
    allowed_.clear();
    for (auto& peer : allowed)
      if (auto where = parse(peer)) {
        allowed_.insert(*where);
        filter.add_rule(where->address(), where->address(), 0);
      } else {
        report(event::peer_refused{peer});
      }
    session_.set_ip_filter(filter);
  }

  void inject(const content_address& address, const std::vector<peer_endpoint>& peers) override {
    if (torrents_.contains(address))
      dial_later(address, named(peers));
  }

  void probe(const peer_endpoint& node) override {
    if (auto where = parse(node))
      ping(*where, lt::client_data_t{&probe_});
    else
      report(event::peer_refused{node});
  }

  void open_hole(const peer_endpoint& peer) override {
    for (auto& where : named({peer}))
      ping(where, {});
  }

  void punch(const content_address& address, const peer_endpoint& peer) override {
    if (!torrents_.contains(address))
      return;
    if (!options_.utp)
      return report(event::peer_left{address, peer, "this node has no uTP"});
    for (auto& where : named({peer}))
      follow(turns_.ask(dial_turns::way::utp, {address, endpoint_of(where)}, steady::now()));
  }

  void add_piece(const content_address& address, std::uint32_t piece, std::vector<char> data) override {
    auto found = torrents_.find(address);
    if (found == torrents_.end() || !found->second.added || found->second.leaving || piece >= found->second.pieces)
      return;
    auto& info = *found->second.info;
    if (data.size() != static_cast<std::size_t>(info.files().piece_size2(index(piece))))
      return;
    // Files begin with a piece of their own: what is between them are zeros that no file has and no hash covers.
    data.resize(static_cast<std::size_t>(info.piece_size(index(piece))));
    ask(found->second.handle,
        [&](const lt::torrent_handle& handle) { handle.add_piece(index(piece), std::move(data)); });
  }

  void prefer(const content_address& address, const std::optional<stripe>& preferred) override {
    auto found = torrents_.find(address);
    if (found == torrents_.end())
      return;
    when_added(found->second, [wanted = as_priorities(piece_priorities(preferred, pieces_of(found->second)))](
                                  const lt::torrent_handle& handle) { handle.prioritize_pieces(wanted); });
  }

  void set_deadlines(const content_address& address, const std::vector<piece_deadline>& deadlines) override {
    auto found = torrents_.find(address);
    if (found == torrents_.end())
      return;
    auto pieces = pieces_of(found->second);
    std::set<std::uint32_t> urgent;
    for (auto& deadline : deadlines)
      urgent.insert(deadline.piece);
    std::erase_if(found->second.urgent, [&](std::uint32_t piece) { return urgent.contains(piece); });
    auto dropped = std::exchange(found->second.urgent, std::move(urgent));
    when_added(found->second, [deadlines, pieces, dropped](const lt::torrent_handle& handle) {
      // The new ones first: whenever the first one comes libtorrent takes back what it has asked peers for.
      for (auto& deadline : deadlines)
        if (deadline.piece < pieces)
          handle.set_piece_deadline(index(deadline.piece), static_cast<int>(deadline.within.count()));
      for (auto piece : dropped)
        if (piece < pieces)
          handle.reset_piece_deadline(index(piece));
    });
  }

  void set_limits(const engine_limits& limits) override { limiter_.set(limits); }

  void set_limits(const content_address& address, const engine_limits& limits) override {
    if (auto found = torrents_.find(address); found != torrents_.end())
      when_added(found->second, [limits](const lt::torrent_handle& handle) {
        handle.set_upload_limit(as_setting(limits.upload_bytes_per_s));
        handle.set_download_limit(as_setting(limits.download_bytes_per_s));
      });
  }

  void request_progress() override {
    // Once per second.  Files that do not fit together: the process says so, whose other connections need them too.
    if (options_.tls)
      static_cast<void>(options_.tls->refresh());
    session_.post_torrent_updates(lt::torrent_handle::query_pieces);
  }

  void request_resume(const content_address& address) override {
    if (auto found = torrents_.find(address); found != torrents_.end())
      when_added(found->second, [](const lt::torrent_handle& handle) {
        handle.save_resume_data(lt::torrent_handle::only_if_modified);
      });
  }

  std::vector<engine_event> drain() override {
    auto result = std::exchange(reported_, {});
    std::vector<lt::alert*> alerts;
    session_.pop_alerts(&alerts);
    for (auto* alert : alerts)
      translate(*alert);
    for (auto& handle : std::exchange(gone_, {}))
      on_removed(handle);
    follow(turns_.go_on(steady::now()));
    result.insert(result.end(), std::make_move_iterator(reported_.begin()), std::make_move_iterator(reported_.end()));
    reported_.clear();
    return result;
  }

private:
  struct torrent {
    lt::torrent_handle handle;
    /// As it was added: to ask libtorrent for it would wait.
    std::shared_ptr<const lt::torrent_info> info;
    std::uint32_t pieces = 0;
    /// It should be; no longer when it was told that it is not.
    bool complete = false;
    /// libtorrent has it, and `handle` is its handle.
    bool added = false;
    /// It was removed, and libtorrent has not said so yet.
    bool leaving = false;
    /// The same content, added again meanwhile.
    std::optional<add_request> next;
    std::uint32_t next_pieces = 0;
    /// Pieces that have deadlines, or had them and have come.
    std::set<std::uint32_t> urgent;
    /// What was asked of it, or of the next one, before libtorrent had it.
    std::vector<std::function<void(const lt::torrent_handle&)>> waiting;
  };

  /// Those that are known beside the pieces; where nothing is known all is checked anyway.
  static void add_blocks(lt::add_torrent_params& params, const std::vector<block_run>& blocks) {
    if (params.have_pieces.empty())
      return;
    for (auto& run : blocks) {
      auto piece = index(run.piece);
      if (piece >= params.ti->end_piece() || params.have_pieces.get_bit(piece))
        continue;
      auto& there = params.unfinished_pieces[piece];
      auto blocks_of = params.ti->piece_length() / static_cast<int>(block_size);
      if (there.size() < blocks_of)
        there.resize(blocks_of, false);
      for (auto i = run.first; i < run.first + run.count && static_cast<int>(i) < blocks_of; ++i)
        there.set_bit(static_cast<int>(i));
    }
  }

  void ping(const lt::tcp::endpoint& where, lt::client_data_t mark) {
    if (!options_.utp)
      return;
    lt::entry question;
    question["y"] = "q";
    question["q"] = "ping";
    session_.dht_direct_request({where.address(), where.port()}, question, mark);
  }

  void dial_later(const content_address& address, const std::vector<lt::tcp::endpoint>& peers) {
    for (auto& where : peers)
      follow(turns_.ask(dial_turns::way::tcp, {address, endpoint_of(where)}, steady::now()));
  }

  void follow(const dial_turns::step& next) {
    if (next.turn) {
      settings changed;
      changed.set_bool(settings::enable_outgoing_utp, *next.turn == dial_turns::way::utp);
      session_.apply_settings(std::move(changed));
    }
    for (auto& [address, peer] : next.dials)
      if (auto found = torrents_.find(address); found != torrents_.end())
        when_added(found->second, [where = parse(peer).value()](const lt::torrent_handle& handle) {
          // Only to what it has from a tracker does libtorrent give another chance when it is told of it again: one
          // failure less is counted, so it is dialled sooner.
          handle.connect_peer(where, lt::peer_info::tracker);
        });
    if (alarm_)
      alarm_->set(turns_.due());
  }

  static std::uint32_t pieces_of(const torrent& what) { return what.next ? what.next_pieces : what.pieces; }

  static lt::session_params start(const libtorrent_options& options) {
    // No exchange of peers or of torrents between peers: those come from elsewhere.
    lt::session_params result{baseline(options), std::vector<std::shared_ptr<lt::plugin>>{}};
    result.disk_io_constructor = lt::posix_disk_io_constructor;
    // Nobody, until somebody is named.
    result.ip_filter = both_families(refused);
    return result;
  }

  static lt::piece_index_t index(std::uint32_t piece) { return lt::piece_index_t{static_cast<int>(piece)}; }

  static std::vector<lt::download_priority_t> as_priorities(const std::vector<std::uint8_t>& numbers) {
    return {numbers.begin(), numbers.end()};
  }

  /// Asks it of the torrent now or when libtorrent has it; of one that leaves nothing is asked any more.
  template <class Action>
  static void when_added(torrent& what, Action action) {
    if (what.leaving ? what.next.has_value() : !what.added)
      what.waiting.emplace_back(std::move(action));
    else if (!what.leaving)
      ask(what.handle, action);
  }

  /// libtorrent throws where a torrent ended of itself: its alerts tell what became of it.
  template <class Action>
  static bool ask(const lt::torrent_handle& handle, const Action& action) {
    try {
      action(handle);
      return true;
    } catch (const lt::system_error&) {
      return false;
    }
  }

  void leave(torrent& what) {
    if (!ask(what.handle, [this](const lt::torrent_handle& handle) { session_.remove_torrent(handle); }))
      gone_.push_back(what.handle);
    if (!gone_.empty() && options_.notify)
      options_.notify();
  }

  /// It is no longer in the session; what was added again meanwhile comes in.
  void on_removed(const lt::torrent_handle& handle) {
    auto known = by_handle_.find(handle);
    if (known == by_handle_.end())
      return;
    auto address = known->second;
    by_handle_.erase(known);
    reported_.emplace_back(event::removed{address});
    begin_next(address);
  }

  void begin_next(const content_address& address) {
    auto node = torrents_.extract(address);
    if (node.empty() || !node.mapped().next)
      return;
    auto& former = node.mapped();
    add(std::move(*former.next));
    if (auto found = torrents_.find(address); found != torrents_.end())
      found->second.waiting.insert(found->second.waiting.end(), std::make_move_iterator(former.waiting.begin()),
                                   std::make_move_iterator(former.waiting.end()));
  }

  /// Those that may take part; the others are refused.
  std::vector<lt::tcp::endpoint> named(const std::vector<peer_endpoint>& peers) {
    std::vector<lt::tcp::endpoint> result;
    for (auto& peer : peers)
      if (auto where = parse(peer); where && allowed_.contains(*where))
        result.push_back(*where);
      else
        report(event::peer_refused{peer});
    return result;
  }

  /// For what has no alert of libtorrent's.
  void report(engine_event what) {
    reported_.push_back(std::move(what));
    if (options_.notify)
      options_.notify();
  }

  /// What an alert is about, while it is here; of a torrent that has a next one nobody wants to hear any more.
  std::optional<content_address> known(const lt::torrent_handle& handle) const {
    auto found = by_handle_.find(handle);
    if (found == by_handle_.end())
      return std::nullopt;
    auto what = torrents_.find(found->second);
    if (what == torrents_.end() || what->second.handle != handle || what->second.next)
      return std::nullopt;
    return found->second;
  }

  void translate(const lt::alert& alert) {
    if (auto* added = lt::alert_cast<lt::add_torrent_alert>(&alert))
      return on_added(*added);
    if (auto* gone = lt::alert_cast<lt::torrent_removed_alert>(&alert)) {
      return on_removed(gone->handle);
    }
    if (auto* updates = lt::alert_cast<lt::state_update_alert>(&alert))
      return on_updates(*updates);
    if (auto* opened = lt::alert_cast<lt::listen_succeeded_alert>(&alert)) {
      if (opened->socket_type == (options_.tls ? lt::socket_type_t::tcp_ssl : lt::socket_type_t::tcp))
        reported_.emplace_back(
            event::listening{{opened->address.to_string(), static_cast<std::uint16_t>(opened->port)}});
      return;
    }
    if (auto* closed = lt::alert_cast<lt::listen_failed_alert>(&alert)) {
      reported_.emplace_back(event::engine_failed{
          {fault::io, fmt::format("cannot listen at {}: {}", closed->listen_interface(), closed->error.message())}});
      return;
    }
    if (auto* answer = lt::alert_cast<lt::dht_direct_response_alert>(&alert)) {
      auto probed = answer->userdata.get<char>() == &probe_;
      if (auto where = probed ? seen_by(answer->response()) : std::nullopt)
        reported_.emplace_back(
            event::mapped{{answer->endpoint.address().to_string(), answer->endpoint.port()}, std::move(*where)});
      return;
    }
    if (auto* dialled = lt::alert_cast<lt::peer_connect_alert>(&alert)) {
      if (dialled->direction == lt::peer_connect_alert::direction_t::out)
        follow(turns_.begun(endpoint_of(dialled->endpoint), steady::now()));
      return;
    }
    if (lt::alert_cast<lt::alerts_dropped_alert>(&alert)) {
      reported_.emplace_back(event::events_lost{});
      return;
    }
    if (auto* blocked = lt::alert_cast<lt::peer_blocked_alert>(&alert)) {
      reported_.emplace_back(event::peer_refused{endpoint_of(blocked->endpoint)});
      return;
    }
    if (auto* failed = lt::alert_cast<lt::session_error_alert>(&alert)) {
      reported_.emplace_back(event::engine_failed{{kind_of(failed->error), failed->message()}});
      return;
    }
    auto* about = dynamic_cast<const lt::torrent_alert*>(&alert);
    if (auto address = about ? known(about->handle) : std::nullopt)
      on_torrent(*address, alert);
  }

  void on_added(const lt::add_torrent_alert& added) {
    auto address = address_of(added.params.ti->info_hashes());
    if (auto wire = by_wire_.extract(address))
      address = wire.mapped();
    auto found = torrents_.find(address);
    if (found == torrents_.end())
      return;
    auto& what = found->second;
    if (added.error) {
      if (what.leaving)
        reported_.emplace_back(event::removed{address});
      else
        reported_.emplace_back(event::failed{address, {fault::unfit, added.error.message()}});
      return begin_next(address);
    }
    what.handle = added.handle;
    what.added = true;
    by_handle_.emplace(added.handle, address);
    if (what.leaving)
      return leave(what);
    for (auto& action : std::exchange(what.waiting, {}))
      ask(what.handle, action);
  }

  void on_updates(const lt::state_update_alert& updates) {
    for (auto& status : updates.status) {
      auto address = known(status.handle);
      if (!address)
        continue;
      event::progress result;
      result.address = *address;
      // libtorrent leaves the pieces of a torrent out that has all.
      result.have.resize(static_cast<std::size_t>(status.pieces.size()));
      for (std::size_t piece = 0; piece < result.have.size(); ++piece)
        result.have[piece] = status.pieces.get_bit(index(static_cast<std::uint32_t>(piece)));
      auto known = torrents_.find(*address);
      if (result.have.empty() && known != torrents_.end())
        result.have.resize(known->second.pieces, status.is_seeding);
      // A wrong hash ends the trust in what was added as complete: libtorrent checks all of it, and would fetch the
      // rest.
      auto known_now = status.state == lt::torrent_status::downloading || status.state == lt::torrent_status::finished;
      if (known != torrents_.end() && known->second.complete && known_now && !status.is_seeding) {
        known->second.complete = false;
        reported_.emplace_back(event::damaged{*address, result.have});
      }
      result.download_bytes_per_s = static_cast<std::uint64_t>(status.download_payload_rate);
      result.upload_bytes_per_s = static_cast<std::uint64_t>(status.upload_payload_rate);
      result.downloaded_bytes = static_cast<std::uint64_t>(status.total_payload_download);
      result.uploaded_bytes = static_cast<std::uint64_t>(status.total_payload_upload);
      result.wasted_bytes = static_cast<std::uint64_t>(status.total_failed_bytes + status.total_redundant_bytes);
      result.peers = static_cast<std::uint32_t>(status.num_peers);
      reported_.emplace_back(std::move(result));
    }
  }

  void on_checked(const content_address& address) {
    reported_.emplace_back(event::checked{address});
    if (auto found = torrents_.find(address); found != torrents_.end() && found->second.complete)
      request_progress();
  }

  void on_torrent(const content_address& address, const lt::alert& alert) {
    auto piece_of = [](lt::piece_index_t piece) { return static_cast<std::uint32_t>(static_cast<int>(piece)); };
    if (auto* block = lt::alert_cast<lt::block_finished_alert>(&alert))
      on_block(address, piece_of(block->piece_index), static_cast<std::uint32_t>(block->block_index),
               block->endpoint.port() != 0);
    else if (auto* finished = lt::alert_cast<lt::piece_finished_alert>(&alert))
      reported_.emplace_back(event::piece_finished{address, piece_of(finished->piece_index)});
    else if (auto* bad = lt::alert_cast<lt::hash_failed_alert>(&alert))
      reported_.emplace_back(event::piece_rejected{address, piece_of(bad->piece_index)});
    else if (lt::alert_cast<lt::torrent_finished_alert>(&alert))
      reported_.emplace_back(event::content_finished{address});
    else if (lt::alert_cast<lt::torrent_checked_alert>(&alert))
      on_checked(address);
    else if (auto* saved = lt::alert_cast<lt::save_resume_data_alert>(&alert))
      reported_.emplace_back(event::resume_ready{address, resume_of(saved->params, address)});
    else if (lt::alert_cast<lt::save_resume_data_failed_alert>(&alert))
      reported_.emplace_back(event::resume_ready{address, {}});
    else if (auto* file = lt::alert_cast<lt::file_error_alert>(&alert))
      reported_.emplace_back(event::failed{
          address, {kind_of(file->error), fmt::format("{}: {}", file->filename(), file->error.message())}});
    else if (auto* error = lt::alert_cast<lt::torrent_error_alert>(&alert))
      reported_.emplace_back(event::failed{
          address, {kind_of(error->error), fmt::format("{}: {}", error->filename(), error->error.message())}});
    else if (auto* banned = lt::alert_cast<lt::peer_ban_alert>(&alert))
      reported_.emplace_back(event::peer_banned{address, endpoint_of(banned->endpoint)});
    else if (auto* left = lt::alert_cast<lt::peer_disconnected_alert>(&alert))
      reported_.emplace_back(event::peer_left{address, endpoint_of(left->endpoint), left->error.message()});
  }

  void on_block(const content_address& address, std::uint32_t piece, std::uint32_t block, bool from_peer) {
    auto* written = reported_.empty() ? nullptr : std::get_if<event::blocks_written>(&reported_.back());
    if (!written || written->address != address)
      written = &std::get<event::blocks_written>(reported_.emplace_back(event::blocks_written{address}));
    written->received_bytes += from_peer ? block_size : 0;
    auto& runs = written->blocks;
    if (!runs.empty() && runs.back().piece == piece && runs.back().first + runs.back().count == block)
      ++runs.back().count;
    else
      runs.push_back({piece, block, 1});
  }

  /// The same with and without TLS.
  static std::vector<char> resume_of(lt::add_torrent_params params, const content_address& address) {
    std::memcpy(params.info_hashes.v2.data(), address.bytes.data(), address.bytes.size());
    return lt::write_resume_data_buf(params);
  }

  libtorrent_options options_;
  /// Before the session, which rings it.
  std::optional<bell> bell_;
  lt::session session_;
  limiter limiter_;
  std::map<content_address, torrent> torrents_;
  /// Also those that are leaving.
  std::map<lt::torrent_handle, content_address> by_handle_;
  /// What an SSL torrent is called by libtorrent; those that it does not have yet.
  std::map<content_address, content_address> by_wire_;
  /// Were not there any more when they were to be removed: no alert will tell so.
  std::vector<lt::torrent_handle> gone_;
  std::set<lt::tcp::endpoint> allowed_;
  std::vector<engine_event> reported_;
  dial_turns turns_;
  /// Its address marks the pings whose answers are told.
  char probe_ = 0;
  std::optional<alarm> alarm_;
};

} // namespace

std::string to_string(const peer_endpoint& endpoint) {
  auto v6 = endpoint.address.find(':') != std::string::npos;
  return fmt::format("{}{}{}:{}", v6 ? "[" : "", endpoint.address, v6 ? "]" : "", endpoint.port);
}

std::unique_ptr<engine> make_libtorrent_engine(libtorrent_options options) {
  return std::make_unique<libtorrent_engine>(std::move(options));
}

} // namespace astra::p2p
