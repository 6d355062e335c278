#include "runtime/cli/commands/model.hpp"

#include "messages/type_ids.hpp"
#include "runtime/cli/commands/model_progress.hpp"
#include "runtime/cli/human.hpp"
#include "runtime/cli/rate.hpp"
#include "runtime/cli/table.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <functional>
#include <system_error>
#include <utility>

namespace astra {
namespace {

using namespace std::chrono_literals;

/// The gateway asks many nodes before it answers.
constexpr auto order_timeout = 60s;

std::string path_of(const std::string& name, std::string_view verb = {}) {
  auto path = "/v1/models/" + percent_encoded(name);
  return verb.empty() ? path : fmt::format("{}/{}", path, verb);
}

/// "llama@3"
std::string reference_of(const json& entry) {
  return fmt::format("{}@{}", printable(text_in(entry, "name")), count_in(entry, "version"));
}

/// "2026-11-26 19:10:03" of "2026-11-26T19:10:03.123Z".
std::string readable(std::string time) {
  if (time.size() > 19)
    time.resize(19);
  std::replace(time.begin(), time.end(), 'T', ' ');
  return time;
}

std::string some_bytes(const json& entry, const char* key) {
  auto bytes = count_in(entry, key);
  return bytes == 0 ? "" : human_bytes(bytes);
}

std::string some_rate(const json& entry, const char* key) {
  auto rate = count_in(entry, key);
  return rate == 0 ? "" : human_rate(rate);
}

std::string some_count(const json& entry, const char* key) {
  auto count = count_in(entry, key);
  return count == 0 ? "" : std::to_string(count);
}

tone tone_of_content(const std::string& state) {
  if (state == "ready")
    return tone::good;
  return state == "condemned" ? tone::bad : state == "fetching" || state == "verifying" ? tone::warning : tone::plain;
}

/// What is wrong with a version as a whole; empty: nothing.
table_cell note_of(const json& entry) {
  auto missing = count_in(entry, "missing");
  auto complete = count_in(entry, "complete");
  auto fetching = count_in(entry, "fetching");
  if (complete == 0 && fetching == 0)
    return {"no node has it", tone::bad};
  if (complete == 0 && missing > 0)
    return {counted(missing, "piece") + (missing == 1 ? " is" : " are") + " on no node", tone::bad};
  return {""};
}

/// Trackers and nodes that are missing in an answer.
std::string witnesses_of(const json& answer, bool colour) {
  std::string out;
  for (const auto& silent : list_in(answer, "unreachable"))
    out += fmt::format("tracker at {} does not answer: {}\n", printable(text_in(silent, "address")),
                       paint(printable(text_in(silent, "reason")), tone::warning, colour));
  if (flag_in(answer, "settling"))
    out += paint("a tracker has just started and may not have heard of all yet", tone::warning, colour) + "\n";
  if (auto left_out = count_in(answer, "left_out"); left_out > 0)
    out += fmt::format("{} not shown: too many for one answer\n", counted(left_out, "holder or node"));
  return out;
}

std::string limit_line(const json& limit) {
  auto rate = count_in(limit, "bytes_per_s");
  if (rate == 0)
    return "no limit";
  auto since = readable(printable(text_in(limit, "since")));
  return fmt::format("all nodes together send at most {}{}", format_rate(rate),
                     since.empty() ? "" : fmt::format(", since {} UTC", since));
}

std::string indented(const std::string& text) {
  std::string out;
  for (std::size_t begin = 0; begin < text.size();) {
    auto end = std::min(text.find('\n', begin), text.size() - 1);
    out += "  " + text.substr(begin, end + 1 - begin);
    begin = end + 1;
  }
  return out;
}

std::string render_holders(const json& holders, bool colour) {
  text_table table{{{"NODE"},
                    {"ZONE"},
                    {"STATE"},
                    {"DONE", align::right},
                    {"DOWN", align::right},
                    {"UP", align::right},
                    {"PEERS", align::right},
                    {"ETA", align::right},
                    {"PINNED"},
                    {"USED BY", align::right},
                    {"REASON"}}};
  for (const auto& holder : holders) {
    auto state = printable(text_in(holder, "state"));
    auto eta = count_in(holder, "eta_ms");
    table.add({printable(text_in(holder, "node")),
               printable(text_in(holder, "zone")),
               {state, tone_of_content(state)},
               fmt::format("{} %", human_number(number_in(holder, "percent"))),
               some_rate(holder, "download_bytes_per_s"),
               some_rate(holder, "upload_bytes_per_s"),
               some_count(holder, "peers"),
               eta == 0 ? "" : human_duration(milliseconds{static_cast<std::int64_t>(eta)}),
               flag_in(holder, "pinned") ? "yes" : "",
               some_count(holder, "users"),
               {printable(bare_reason(text_in(holder, "reason"))), tone::warning}});
  }
  return table.empty() ? "" : table.render(colour);
}

std::string render_version(const json& version, bool colour) {
  std::string head = reference_of(version);
  for (const auto& part :
       {human_bytes(count_in(version, "size_bytes")),
        count_in(version, "pieces") > 0 ? counted(count_in(version, "pieces"), "piece") : std::string{},
        flag_in(version, "newest") ? std::string{"newest"} : std::string{}})
    head += part.empty() ? "" : "   " + part;
  auto out = fmt::format("model {}{}\n", head,
                         flag_in(version, "removed") ? "   " + paint("removed", tone::warning, colour) : "");
  auto add = [&](std::string_view title, const std::string& value) { out += fmt::format("{:<12} {}\n", title, value); };
  add("address", printable(text_in(version, "address")));
  add("published",
      readable(printable(text_in(version, "published"))) + " UTC by " + printable(text_in(version, "publisher")));
  if (auto origin = text_in(version, "origin"); !origin.empty())
    add("origin", printable(origin));
  auto fetching = count_in(version, "fetching");
  auto nodes = fmt::format("{} complete", count_in(version, "complete"));
  if (fetching > 0)
    nodes += fmt::format(", {} fetching ({})", fetching, human_share(number_in(version, "progress")));
  auto note = note_of(version);
  if (!note.text.empty() && !flag_in(version, "removed"))
    nodes += "; " + paint(note.text, note.look, colour);
  add("nodes", nodes);
  return out + indented(render_holders(list_in(version, "holders"), colour));
}

std::string nodes_body(const model_options& options, json body = json::object()) {
  if (!options.nodes.empty())
    body["nodes"] = options.nodes;
  return body.dump(-1, ' ', false, json::error_handler_t::replace);
}

/// Asks as `ask`, with more patience.
caf::expected<json> order(command_context& context, std::string_view method, std::string target, std::string body) {
  auto patient = context;
  patient.options.timeout = context.options.timeout.value_or(order_timeout);
  return patient.ask(method, std::move(target), std::move(body), "application/json");
}

/// Tells which nodes do not do what they were told.  @returns how many.
std::size_t tell_refusals(command_context& context, const json& answer) {
  std::size_t count = 0;
  for (const auto& node : list_in(answer, "nodes"))
    if (text_in(node, "state") == "failed") {
      ++count;
      context.say(fmt::format("{}: {}", printable(text_in(node, "node")), printable(text_in(node, "reason"))));
    }
  return count;
}

/// What a verb says of jobs at nodes.
struct job_words {
  std::string_view verb;
  /// "3 nodes have it"
  std::string_view good_one;
  std::string_view good;
};

/// What became of jobs, in the answer to the order that began them.
void put_jobs(json& answer, const std::vector<json>& jobs) {
  if (!answer.contains("nodes") || !answer["nodes"].is_array())
    return;
  for (const auto& job : jobs)
    for (auto& node : answer["nodes"])
      if (text_in(node, "node") == text_in(job, "node"))
        for (auto key : {"state", "reason"})
          node[key] = text_in(job, key);
}

std::string render_jobs(const json& answer, bool colour) {
  text_table table{{{"NODE"}, {"JOB"}, {"STATE"}, {"REASON"}}};
  for (const auto& node : list_in(answer, "nodes")) {
    auto state = printable(text_in(node, "state"));
    table.add({printable(text_in(node, "node")),
               printable(text_in(node, "job")),
               {state, state == "failed" ? tone::bad
                       : state == "done" ? tone::good
                                         : tone::plain},
               {printable(text_in(node, "reason")), tone::warning}});
  }
  return table.render(colour);
}

/// Follows jobs that an order has begun at nodes, and tells what came of them.
/// @param again as in job_order
int finish_jobs(command_context& context, json answer, const job_words& words, bool no_wait,
                std::function<caf::expected<std::string>(const std::string&)> again = {}) {
  auto as_json = context.options.format == output_format::json;
  auto name = reference_of(answer);
  job_order jobs{std::string{words.verb}, name, {}, std::move(again)};
  for (const auto& node : list_in(answer, "nodes"))
    if (text_in(node, "state") == "running" && !text_in(node, "job").empty())
      jobs.ids.push_back(text_in(node, "job"));
  auto begun = context.environment.now();
  if (!no_wait) {
    auto followed = follow_jobs(context, jobs);
    if (!followed)
      return context.fail(followed.error());
    put_jobs(answer, followed->jobs);
    if (followed->left) {
      context.say(fmt::format("the nodes go on with it; astra model show {} tells how far they are", name));
      return exit_unreachable;
    }
  }
  std::size_t good = 0;
  const auto& nodes = list_in(answer, "nodes");
  for (const auto& node : nodes)
    good += text_in(node, "state") == "failed" ? 0 : 1;
  if (as_json) {
    context.out() << pretty(answer);
    return good == nodes.size() ? exit_ok : exit_failed;
  }
  if (no_wait) {
    context.out() << render_jobs(answer, context.options.colour_out);
    return good == nodes.size() ? exit_ok : exit_failed;
  }
  auto failed = tell_refusals(context, answer);
  if (good > 0)
    context.out() << fmt::format(
        "{}: {} {} ({}, {})\n", name, counted(good, "node"), good == 1 ? words.good_one : words.good,
        human_bytes(count_in(answer, "size_bytes")),
        human_duration(std::chrono::duration_cast<milliseconds>(context.environment.now() - begun)));
  return failed == 0 ? exit_ok
                     : context.fail(exit_failed, fmt::format("{} {}: {} of {} failed", words.verb, name, failed,
                                                             counted(nodes.size(), "node")));
}

} // namespace

const command_text model_text = {
    "Models and other files of apps: published once, fetched by the nodes from each other", {}, {}};

const command_text model_publish_text = {
    "Make a new version of a model of a directory or file",
    "A node on this machine reads PATH, copies it into its store and gives it the next version of NAME; the other "
    "nodes "
    "fetch it from there and from each other when an app needs it or astra model fetch says so.  With --node PATH is "
    "one of that node's machine.  The same files again are the same version.  ^C leaves the node at it.  "
    "With --origin URL the files are on that HTTP server, too, at URL/<path of the file>, or for a single file at URL "
    "itself.  What no node has any more is read from there, by one node of each zone, and must be what was published.",
    "astra model publish llama ./llama-8b\nastra model publish llama /srv/models/llama-8b --node node-1 --pin\n"
    "astra model publish llama ./llama-8b --origin https://files.example/llama-8b/",
};

const command_text model_list_text = {
    "List the models: their size, how many nodes have them, how far the others are",
    "All versions that were not removed.  NODES have all of it.  DONE is of those that fetch it, all together.  NEWEST "
    "is what NAME without a version means.",
    "astra model list\nastra model list --where 'size_bytes > 1GiB' --sort -size_bytes -o csv",
};

const command_text model_show_text = {
    "Show one model: its versions, and each node that has any of it",
    "REASON tells what a node waits for, or why its files are not good.  PINNED: it stays when room is needed.  USED "
    "BY: replicas on the node that need it.",
    "astra model show llama\nastra model show llama@3",
};

const command_text model_fetch_text = {
    "Have nodes fetch a model, before an app needs it",
    "With --node those, with --all every node that keeps models, with --count as many as are wanted in all: those that "
    "have it count, and the others are chosen evenly over the zones.  Waits for the end and tells how far they are; ^C "
    "leaves the nodes at it.  --priority: low leaves the link to what is more urgent and evicts nothing; high goes "
    "beside what replicas wait for.  Exit code 1 when one failed.",
    "astra model fetch llama --all\nastra model fetch llama@3 --count 5\nastra model fetch llama --node node-2 --node "
    "node-3 --pin",
};

const command_text model_verify_text = {
    "Have nodes read a model again and compare it with what it must be",
    "All nodes that have it, or those of --node.  What is damaged is not shown to apps any more and is fetched anew.",
    "astra model verify llama@3\nastra model verify llama --node node-2",
};

const command_text model_rm_text = {
    "Remove a version of a model",
    "The version is never given again.  Its files go with it, but stay where another name means the same content and "
    "as long as replicas use them; each node's line says which.",
    "astra model rm llama@2",
};

const command_text model_pin_text = {
    "Keep a model on nodes when room is needed for others",
    "On all nodes that have any of it, or those of --node.",
    "astra model pin llama@3\nastra model pin llama --node node-1",
};

const command_text model_unpin_text = {
    "Let nodes give a model up again when room is needed for others",
    "On all nodes that have any of it, or those of --node.  It is still never given up while replicas use it.",
    "astra model unpin llama@3",
};

const command_text model_nodes_text = {
    "List the nodes that keep models",
    "With the room in their stores, what their links have carried at their best, and how others reach them: open, "
    "where "
    "they listen; port_restricted or symmetric, through a NAT of that kind; unknown, where they listen as far as "
    "anybody "
    "knows.",
    "astra model nodes\nastra model nodes --sort -store_used_bytes --limit 10",
};

const command_text model_limit_text = {
    "Show or set how much all nodes together send of models",
    "RATE is over all nodes: bytes (10GB/s, 1.5GiB/s) or bits (800Mbit/s) per second, or none.  Without RATE the limit "
    "is shown.",
    "astra model limit\nastra model limit 800Mbit/s\nastra model limit none",
};

int publish_model(command_context& context, const model_options& options) {
  json body;
  auto path = std::filesystem::path{options.path};
  if (options.node.empty()) {
    std::error_code problem;
    path = std::filesystem::absolute(path, problem).lexically_normal();
    if (!std::filesystem::exists(path, problem))
      return context.fail(exit_failed, fmt::format("cannot read {}: {}", printable(path.string()),
                                                   problem ? problem.message() : "there is no such file"));
    body["machine"] = context.environment.machine();
  } else {
    if (!path.is_absolute())
      return context.fail(exit_usage, fmt::format("with --node PATH is on the node's machine: write all of it, from / "
                                                  "on, not '{}'",
                                                  printable(options.path)));
    body["node"] = options.node;
  }
  body["path"] = path.string();
  if (options.pin)
    body["pin"] = true;
  if (!options.origin.empty())
    body["origin"] = options.origin;
  auto answer =
      order(context, "POST", path_of(options.name), body.dump(-1, ' ', false, json::error_handler_t::replace));
  if (!answer)
    return context.fail(answer.error());
  auto as_json = context.options.format == output_format::json;
  auto job = text_in(*answer, "job");
  if (options.no_wait) {
    context.out() << (as_json ? pretty(*answer) : printable(job) + "\n");
    return exit_ok;
  }
  auto followed = follow_jobs(context, {"publish", options.name, {job}, {}});
  if (!followed)
    return context.fail(followed.error());
  if (followed->left) {
    context.say(fmt::format("node '{}' goes on with it; astra model list shows when it is done",
                            printable(text_in(*answer, "node"))));
    return exit_unreachable;
  }
  const auto& ended = followed->jobs.front();
  auto done = text_in(ended, "state") == "done";
  if (as_json) {
    context.out() << pretty(ended);
    return done ? exit_ok : exit_failed;
  }
  if (!done)
    return context.fail(exit_failed,
                        fmt::format("node '{}' could not publish {}: {}", printable(text_in(ended, "node")),
                                    printable(path.string()), printable(text_in(ended, "reason"))));
  auto size = std::max(count_in(ended, "size_bytes"), count_in(ended, "bytes_total"));
  auto shared = count_in(ended, "bytes_shared");
  context.out() << fmt::format(
      "published {} ({}, {}{}, on node {})\n", reference_of(ended), printable(text_in(ended, "address")),
      human_bytes(size), shared > 0 ? fmt::format(", {} of it as in an earlier version", human_bytes(shared)) : "",
      printable(text_in(ended, "node")));
  return exit_ok;
}

const listing& model_listing() {
  static const listing what{"models",
                            "model",
                            "name",
                            {"name", "version", "address", "size_bytes", "pieces", "published", "publisher", "origin",
                             "complete", "fetching", "progress", "missing", "newest"},
                            render_models};
  return what;
}

int list_models(command_context& context, const list_options& options) {
  return print_list(context, model_listing(), options, [&] { return context.ask("GET", "/v1/models"); });
}

int show_model(command_context& context, const std::string& name) {
  return context.show(path_of(name), render_model);
}

int fetch_model(command_context& context, const model_options& options) {
  if ((options.nodes.empty() ? 0 : 1) + (options.count ? 1 : 0) + (options.all ? 1 : 0) != 1)
    return context.fail(exit_usage, "say which nodes: --node NAME, once for each, or --count N, or --all");
  json body = json::object();
  if (options.count)
    body["count"] = *options.count;
  if (options.all)
    body["all"] = true;
  auto how = json::object();
  if (options.pin)
    how["pin"] = true;
  if (!options.priority.empty())
    how["priority"] = options.priority;
  body.update(how);
  auto answer = order(context, "POST", path_of(options.name, "fetch"), nodes_body(options, std::move(body)));
  if (!answer)
    return context.fail(answer.error());
  // A node goes on with what it was to fetch when it is started anew; the new job only tells how far it is.
  auto again = [&context, how, name = reference_of(*answer)](const std::string& node) -> caf::expected<std::string> {
    json wish = {{"nodes", {node}}};
    wish.update(how);
    auto begun = order(context, "POST", path_of(name, "fetch"), wish.dump());
    if (!begun)
      return std::move(begun.error());
    const auto& nodes = list_in(*begun, "nodes");
    return nodes.is_array() && !nodes.empty() ? text_in(nodes.front(), "job") : std::string{};
  };
  return finish_jobs(context, std::move(*answer), {"fetch", "has it", "have it"}, options.no_wait, again);
}

int verify_model(command_context& context, const model_options& options) {
  auto answer = order(context, "POST", path_of(options.name, "verify"), nodes_body(options));
  if (!answer)
    return context.fail(answer.error());
  return finish_jobs(context, std::move(*answer), {"verify", "has it undamaged", "have it undamaged"}, options.no_wait);
}

int remove_model(command_context& context, const std::string& name) {
  return context.print(order(context, "DELETE", path_of(name), {}), render_model_removal);
}

int pin_model(command_context& context, const model_options& options, bool pinned) {
  auto answer = order(context, "POST", path_of(options.name, "pin"), nodes_body(options, {{"pinned", pinned}}));
  if (!answer)
    return context.fail(answer.error());
  std::string where;
  for (const auto& node : list_in(*answer, "nodes"))
    if (text_in(node, "state") != "failed")
      where += (where.empty() ? "" : ", ") + printable(text_in(node, "node"));
  auto failed = tell_refusals(context, *answer);
  context.out() << (context.options.format == output_format::json
                        ? pretty(*answer)
                        : fmt::format("{} {} on {}\n", reference_of(*answer), pinned ? "pinned" : "not pinned", where));
  return failed == 0 ? exit_ok : exit_failed;
}

const listing& model_node_listing() {
  static const listing what{"nodes",
                            "node",
                            "node",
                            {"node", "zone", "store_used_bytes", "store_max_bytes", "uplink_bytes_per_s",
                             "downlink_bytes_per_s", "reachability", "reason"},
                            render_model_nodes};
  return what;
}

int list_model_nodes(command_context& context, const list_options& options) {
  return print_list(context, model_node_listing(), options, [&] { return context.ask("GET", "/v1/model-nodes"); });
}

int limit_models(command_context& context, const model_options& options) {
  if (!options.limit)
    return context.show("/v1/model-limit", render_model_limit);
  auto wish = json{{"bytes_per_s", *options.limit}}.dump();
  return context.print(context.ask("PUT", "/v1/model-limit", std::move(wish), "application/json"), render_model_limit);
}

std::string render_models(const json& answer, bool colour) {
  text_table table{{{"NAME"},
                    {"NEWEST"},
                    {"SIZE", align::right},
                    {"NODES", align::right},
                    {"FETCHING", align::right},
                    {"DONE", align::right},
                    {"PUBLISHED (UTC)"},
                    {"BY"},
                    {"REASON"}}};
  for (const auto& model : list_in(answer, "models")) {
    auto fetching = count_in(model, "fetching");
    table.add({reference_of(model), flag_in(model, "newest") ? "*" : "", human_bytes(count_in(model, "size_bytes")),
               std::to_string(count_in(model, "complete")), some_count(model, "fetching"),
               fetching > 0 ? human_share(number_in(model, "progress")) : "",
               readable(printable(text_in(model, "published"))), printable(text_in(model, "publisher")),
               note_of(model)});
  }
  auto out = table.empty() ? "no models; astra model publish NAME PATH makes one\n" : table.render(colour);
  if (const auto& limit = list_in(answer, "limit"); count_in(limit, "bytes_per_s") > 0)
    out += limit_line(limit) + "\n";
  return out + witnesses_of(answer, colour);
}

std::string render_model(const json& answer, bool colour) {
  const auto& versions = list_in(answer, "versions");
  std::string out;
  // The newest first.
  for (auto i = versions.size(); i > 0; --i) {
    if (!versions.is_array())
      break;
    out += (out.empty() ? "" : "\n") + render_version(versions[i - 1], colour);
  }
  if (out.empty())
    out = "no versions\n";
  return out + witnesses_of(answer, colour);
}

std::string render_model_removal(const json& answer, bool colour) {
  text_table table{{{"NODE"}, {"FILES"}, {"REASON"}}};
  std::uint64_t freed = 0;
  for (const auto& node : list_in(answer, "nodes")) {
    auto state = text_in(node, "state");
    freed += count_in(node, "freed_bytes");
    table.add({printable(text_in(node, "node")),
               {state == "freed"    ? "freed " + some_bytes(node, "freed_bytes")
                : state == "failed" ? "not told"
                                    : "stay",
                state == "freed" ? tone::good : tone::warning},
               printable(text_in(node, "reason"))});
  }
  auto out = fmt::format("removed {}: {}\n", reference_of(answer),
                         freed > 0 ? human_bytes(freed) + " freed" : "nothing to free");
  return table.empty() ? out : out + table.render(colour);
}

std::string render_model_nodes(const json& answer, bool colour) {
  text_table table{{{"NODE"},
                    {"ZONE"},
                    {"STORED", align::right},
                    {"ROOM", align::right},
                    {"UPLINK", align::right},
                    {"DOWNLINK", align::right},
                    {"REACHED"},
                    {"REASON"}}};
  for (const auto& node : list_in(answer, "nodes")) {
    auto reached = printable(text_in(node, "reachability"));
    table.add({printable(text_in(node, "node")), printable(text_in(node, "zone")), some_bytes(node, "store_used_bytes"),
               count_in(node, "store_max_bytes") == 0 ? "as the disk" : some_bytes(node, "store_max_bytes"),
               some_rate(node, "uplink_bytes_per_s"), some_rate(node, "downlink_bytes_per_s"),
               reached.empty() ? "where it listens" : reached, printable(text_in(node, "reason"))});
  }
  return (table.empty() ? "no node keeps models\n" : table.render(colour)) + witnesses_of(answer, colour);
}

std::string render_model_limit(const json& answer, bool colour) {
  return limit_line(answer) + "\n" + witnesses_of(answer, colour);
}

} // namespace astra
