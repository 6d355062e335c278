#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

// What actors and the process around them are told at start.  Filled from a file by config/load.hpp; the defaults
// here are the only ones.

namespace astra {

using std::chrono::milliseconds;

struct accelerator_options {
  std::string kind;
  std::uint32_t count = 1;
  std::uint64_t memory_bytes = 0;
  /// Performance relative to the reference device.
  double coefficient = 1.0;
};

/// The group of a Resource whose file names none; messages/group.hpp knows it, too.
inline constexpr const char* default_group = "main";

/// The Resources of one group.
struct resource_group {
  std::string name;
  /// "host:port"
  std::vector<std::string> resources;
};

/// Those of the home group first.
std::vector<std::string> all_resources(const std::vector<std::string>& home, const std::vector<resource_group>& others);

struct node_options {
  /// The process's name.
  std::string name;
  /// "host:port" of every Resource the node may join.
  std::vector<std::string> resources;
  /// "host:port" of aggregators that the node may beat through; they come before the Resources.
  std::vector<std::string> aggregators;
  milliseconds heartbeat{1000};
  /// A home Resource that has not answered for this long is left for the next choice.
  milliseconds home_silence{2000};
  /// Cores and memory offered to apps.
  std::uint32_t cpu_milli = 0;
  std::uint64_t memory_bytes = 0;
  /// How the capacity was found, for operators.
  std::string capacity_origin;
  std::vector<accelerator_options> accelerators;
  /// Sorted by key.
  std::vector<std::pair<std::string, std::string>> labels;
  /// "key" or "key=value": only apps that tolerate all of them are placed here.
  std::vector<std::string> taints;
  /// A slot that was granted and not used is taken back after this.
  milliseconds slot_hold{2000};
  /// Requests that may wait at this node per slot of their app.
  std::uint32_t queue_per_slot = 2;
  /// How long a drain waits for work in progress before it is killed.
  milliseconds drain_wait{45000};
  /// What the launcher can enforce; told by the runtime, shown in the profile.
  std::string limits_backend;
};

/// What the apps of one business may have in all; what is not named has no limit.
struct quota_options {
  std::string business;
  std::optional<std::uint32_t> cpu_milli;
  std::optional<std::uint64_t> memory_bytes;
  /// By kind, sorted.
  std::vector<std::pair<std::string, std::uint32_t>> accelerators;

  bool operator==(const quota_options&) const = default;
};

struct resource_options {
  std::string name;
  /// Resources of one group share their shards, and know nothing of other groups.
  std::string group = default_group;
  /// "host:port" of the other Resources; its own address may be among them.
  std::vector<std::string> peers;
  /// Heartbeat interval that nodes keep; suspicion and eviction are checked against it.
  milliseconds heartbeat{1000};
  milliseconds suspect_after{1500};
  milliseconds evict_after{3000};
  milliseconds sweep{100};
  /// Cadence of the three streams: liveness is pushed within the first, claims within the second, load within the
  /// third.
  milliseconds liveness_tick{20};
  milliseconds claims_tick{25};
  milliseconds load_tick{250};
  /// How long an offline node stays listed with its reason.
  milliseconds forget_after{60000};
  /// Rows of a lost Resource wait this long for their nodes to turn up at another one.
  milliseconds orphan_grace{10000};
  /// Wait for a node's word on a claim.
  milliseconds claim_timeout{2000};
  /// A peer or subscriber that is silent for this long is dropped.
  milliseconds peer_timeout{3000};
  /// The view travels in messages of at most this size, of which a subscriber may have four unacknowledged.
  std::uint64_t view_chunk_bytes = 256 * 1024;
  /// The last so many events are kept for operators.
  std::uint32_t events_kept = 4096;
  /// The same at all Resources of a group.
  std::vector<quota_options> quotas;
};

struct aggregator_options {
  std::string name;
  /// "host:port" of every Resource that it may pass beats on to.
  std::vector<std::string> resources;
  /// Beats leave together, once in this time.
  milliseconds tick{250};
  milliseconds heartbeat{1000};
  /// A home Resource that has not answered for this long is left for the next choice.
  milliseconds home_silence{2000};
  /// Wait for a node's word on a claim.
  milliseconds claim_timeout{2000};
};

struct scheduler_options {
  std::string name;
  /// Of the home group.
  std::vector<std::string> resources;
  /// Other groups, whose nodes apps may have that name them.
  std::vector<resource_group> groups;
  /// App files to run from the start, next to those in the state directory.
  std::vector<std::string> app_files;
  milliseconds heartbeat{1000};
  /// Cadence of planning and claiming.
  milliseconds plan{100};
  milliseconds claim_timeout{5000};
  /// Replicas that a lost node held are placed anew at most this fast, per second.
  std::uint32_t replace_per_s = 100;
  /// Takes over the apps of scheduler processes that are gone.
  bool standby = false;
  /// So long after they have gone offline.
  milliseconds takeover_after{1000};
  /// Of each app's claim log so much is kept at least; 0: there is none.
  std::uint64_t claim_log_bytes = 64ull << 20;
};

/// Which of several routers of the same apps one is, from 1.
struct router_share {
  std::uint32_t number = 1;
  std::uint32_t of = 1;
};

/// "3/16": the third of sixteen.  Nullopt: it is nothing of the kind.
std::optional<router_share> parse_router_share(std::string_view text);

struct router_options {
  /// Of the home group.
  std::vector<std::string> resources;
  /// Other groups that may hold replicas.
  std::vector<resource_group> groups;
  /// How often weights are computed anew.
  milliseconds refresh{3000};
  /// Nodes asked for a slot before a request queues at the best of them.
  std::uint32_t tries = 4;
  /// Wait for a node's answer to a request for a slot.
  milliseconds admission_timeout{500};
  /// How long a request waits for a first ready replica before it is answered 503.
  milliseconds no_replica_wait{2000};
  /// A node that failed a dispatch gets nothing for this long, or until it is seen alive.
  milliseconds ejection{3000};
  /// A node that comes into rotation while others work gets its whole share only after this; zero: at once.
  milliseconds slow_start{10000};
  /// So many errors of the app one after the other at a node, while other nodes have fewer, eject it; 0: never.
  std::uint32_t outlier_errors = 5;
  /// A node that needs so many times as long as its hardware and the others let expect is ejected; 0: never.
  double outlier_latency = 8.0;
  /// For how long both do so the first time; each time after that twice as long, up to 5 minutes.
  milliseconds outlier_ejection{10000};
  /// Second starts of idempotent work, as a share of all starts, and how many are always allowed.
  double retry_budget = 0.1;
  std::uint32_t retry_budget_min = 10;
  /// "key=value": nodes with all of these labels are asked first.
  std::vector<std::string> near;
  /// As parse_router_share reads it: of apps with very many nodes each router takes its part; empty: all.
  std::string share;
};

struct gateway_options {
  /// "host:port" for HTTP; port 0: chosen by the kernel.
  std::string listen = "127.0.0.1:9750";
  std::uint64_t body_limit_bytes = 64 * 1024 * 1024;
  std::uint64_t header_limit_bytes = 16 * 1024;
  std::uint32_t connections_max = 1024;
  /// A connection that sends or takes nothing for this long is closed.
  milliseconds idle_timeout{60000};
  /// With TLS: requests to apps need no certificate.
  bool anonymous_invoke = false;
  /// Directory of the cluster's authority: machines with a token get their certificate here; empty: they do not.
  std::string ca_dir;
  /// The apps that requests are taken for; empty: all.  With some the process follows only the nodes that hold them.
  std::vector<std::string> apps;
  /// How long the result of a task is kept after its end when whoever submits it says nothing else; and the longest.
  milliseconds task_keep{std::chrono::hours{24}};
  /// Of the tasks of this gateway, bodies and results together.
  std::uint64_t task_bytes = 4ull * 1024 * 1024 * 1024;
  /// Unfinished tasks of one app.
  std::uint32_t task_limit = 200'000;
};

/// Contents of a node, and how they get there and from there.
struct store_options {
  /// False: the node has no contents, and runs no app that needs one.
  bool enabled = true;
  /// Empty: "store" in the state directory.
  std::string directory;
  /// Of all contents together; 0: as many as the disk holds.
  std::uint64_t bytes_max = 0;
  /// "address:port" where other nodes fetch from this one, the address in digits; port 0: chosen by the kernel; empty:
  /// the host of net.advertise or net.listen, any port.
  std::string listen;
  /// Bytes per second to and from other nodes, over all contents; 0: no limit.
  std::uint64_t upload_bytes_per_s = 0;
  std::uint64_t download_bytes_per_s = 0;
  /// What transfers may take of the node's link in each direction, in (0, 1]; 0: it is not measured.
  double link_share = 0.9;
  /// Meets other nodes through NATs.
  bool nat = true;
  /// In which a content's pieces are asked for while it is new to the cluster: planned (each node a stripe of its own),
  /// rarest (first) or shuffled.
  std::string order = "planned";
  /// What it goes on sending with when no tracker answers while a limit over all nodes is in force.
  std::uint64_t upload_floor_bytes_per_s = 64 * 1024;
};

struct log_options {
  /// trace, debug, info, warn, error, off.
  std::string level = "info";
  /// text or json.
  std::string format = "text";
  /// Empty: stderr.
  std::string file;
};

struct metrics_options {
  /// "host:port" where /metrics of this process is served, for Prometheus; port 0: chosen by the kernel; empty: nowhere
  /// (a gateway serves its own at gateway.listen in any case).
  std::string listen;
};

/// Who this process is to others, and whom it trusts.  PEM files.
struct tls_options {
  /// This process's certificate, with its chain if any, and the key for it.
  std::string certificate;
  std::string key;
  /// The cluster's certificate authority: only what it has signed is spoken to.
  std::string ca;
  /// Certificates that it has taken back (a CRL); empty: none.
  std::string revoked;

  bool enabled() const { return !certificate.empty(); }
};

struct net_options {
  /// Processes of another cluster are refused.
  std::string cluster = "astra";
  /// "host:port" on which other processes reach this one; port 0: chosen by the kernel.  Without TLS loopback only,
  /// unless `insecure` says otherwise.
  std::string listen = "127.0.0.1:0";
  /// "host:port" that others dial instead of `listen`, such as behind a NAT; empty: the address it listens on.
  std::string advertise;
  /// Where nodes connect, when they are to have a listener of their own; empty: at `listen`, with all others.
  std::string edge_listen;
  /// The sentence that allows plain TCP with other machines; see `insecure_sentence`.
  std::string insecure;
  /// Keep-alive of a session and the silence after which it is closed.
  milliseconds heartbeat{200};
  milliseconds timeout{1000};
  milliseconds dial_timeout{2000};
  /// Silence after which the session of a node is closed.  The heartbeats of nodes tell much sooner that one is lost;
  /// this only clears away what is left.
  milliseconds edge_timeout{20000};
  /// Sessions that this process keeps at once.
  std::uint32_t sessions_max = 16000;
  /// New connections that are looked at per second; the rest waits in the kernel's queue.
  std::uint32_t admissions_per_s = 1000;
};

/// What `net.insecure` must say, word for word.
inline constexpr const char* insecure_sentence = "anyone who can connect may command this cluster";

enum class process_role : std::uint8_t { node, resource, scheduler, gateway, aggregator };

inline constexpr std::array all_process_roles{process_role::node, process_role::resource, process_role::scheduler,
                                              process_role::gateway, process_role::aggregator};

std::string to_string(process_role role);

/// Everything one `astra run` needs.
struct process_options {
  std::string name;
  /// In the order of the enumeration, without repetition.
  std::vector<process_role> roles;
  /// Files of this process: app specs, scratch directories, its run file.  A file that does not say it gets
  /// /var/lib/astra/<name>.
  std::string state_dir;
  /// SIGTERM ends the process within drain_wait plus this.
  milliseconds shutdown_timeout{5000};
  log_options log;
  net_options net;
  tls_options tls;
  node_options node;
  resource_options resource;
  aggregator_options aggregator;
  scheduler_options scheduler;
  router_options router;
  gateway_options gateway;
  metrics_options metrics;
  store_options store;
  /// Checked CAF options, as "caf.scheduler.max-threads" -> its literal, for caf::config_value::parse.
  std::vector<std::pair<std::string, std::string>> caf;
  /// node.capacity said "auto" for these.
  bool cpu_auto = true;
  bool memory_auto = true;
  bool accelerators_auto = false;

  bool has(process_role role) const;
};

/// A rule that options do not keep.
struct broken_rule {
  /// As in the process's file: "resource.evict_after".
  std::string key;
  /// What is wrong and the cure, without the key.
  std::string message;
  /// Other keys that the rule speaks of; one of them may be the culprit.
  std::vector<std::string> related;
};

// Each checks the rules of one struct, whatever the rest of the process looks like; empty: good.
std::vector<broken_rule> validate(const node_options& options);
std::vector<broken_rule> validate(const resource_options& options);
std::vector<broken_rule> validate(const aggregator_options& options);
std::vector<broken_rule> validate(const scheduler_options& options);
std::vector<broken_rule> validate(const router_options& options);
std::vector<broken_rule> validate(const gateway_options& options);
std::vector<broken_rule> validate(const metrics_options& options);
std::vector<broken_rule> validate(const store_options& options);
std::vector<broken_rule> validate(const log_options& options);
std::vector<broken_rule> validate(const net_options& options);
std::vector<broken_rule> validate(const tls_options& options);

/// Checks all of the above and the rules between them: the roles and what each of them needs.
std::vector<broken_rule> validate(const process_options& options);

} // namespace astra
