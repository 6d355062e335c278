#include "runtime/gateway/model_json.hpp"

#include "runtime/gateway/json.hpp"
#include "runtime/transfer/transfer_text.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>

namespace astra {
namespace {

using json = nlohmann::ordered_json;

std::string_view name_of(pb::ContentState state) {
  switch (state) {
  case pb::CONTENT_FETCHING:
    return "fetching";
  case pb::CONTENT_VERIFYING:
    return "verifying";
  case pb::CONTENT_READY:
    return "ready";
  case pb::CONTENT_CONDEMNED:
    return "condemned";
  default:
    return "absent";
  }
}

std::string_view name_of(pb::ContentPriority priority) {
  switch (priority) {
  case pb::CONTENT_LOW:
    return "low";
  case pb::CONTENT_HIGH:
    return "high";
  default:
    return "normal";
  }
}

std::string_view name_of(pb::ContentVerb verb) {
  switch (verb) {
  case pb::CONTENT_PUBLISH:
    return "publish";
  case pb::CONTENT_FETCH:
    return "fetch";
  case pb::CONTENT_VERIFY:
    return "verify";
  case pb::CONTENT_REMOVE:
    return "remove";
  case pb::CONTENT_PIN:
    return "pin";
  case pb::CONTENT_UNPIN:
    return "unpin";
  default:
    return "unknown";
  }
}

std::string_view name_of(pb::JobState state) {
  switch (state) {
  case pb::JOB_RUNNING:
    return "running";
  case pb::JOB_DONE:
    return "done";
  case pb::JOB_FAILED:
    return "failed";
  default:
    return "unknown";
  }
}

/// In tenths.
double percent(std::uint64_t part, std::uint64_t whole) {
  if (whole == 0)
    return 0.0;
  auto share = static_cast<double>(std::min(part, whole)) / static_cast<double>(whole);
  // What is not all is not 100 %.
  return std::floor(share * 1000.0) / 10.0;
}

json to_json(const pb::SwarmHolder& holder, std::uint64_t size_bytes) {
  auto& held = holder.holding();
  auto size = std::max<std::uint64_t>(held.size(), size_bytes);
  json result = {
      {"node", holder.node()},
      {"zone", holder.zone()},
      {"state", name_of(held.state())},
      {"percent", held.complete() ? 100.0 : percent(held.bytes_done(), size)},
      {"bytes_done", held.bytes_done()},
      {"download_bytes_per_s", held.download_bytes_per_s()},
      {"upload_bytes_per_s", held.upload_bytes_per_s()},
      {"uploaded_bytes", held.uploaded_bytes()},
      {"wasted_bytes", held.wasted_bytes()},
      {"peers", held.peers()},
      {"pinned", held.pinned()},
      {"users", held.users()},
      {"priority", name_of(held.priority())},
      {"reason", held.reason()},
  };
  auto rate = held.download_bytes_per_s();
  if (held.state() == pb::CONTENT_FETCHING && rate > 0 && size > held.bytes_done())
    result["eta_ms"] = std::llround(static_cast<double>(size - held.bytes_done()) * 1000.0 / static_cast<double>(rate));
  return result;
}

json to_json(const model_book& book, const pb::ContentName& name) {
  static const model_content nothing;
  auto known = book.content(name.address());
  auto& content = known == nullptr ? nothing : *known;
  return {
      {"name", name.name()},
      {"version", name.version()},
      {"address", hex(name.address())},
      {"size_bytes", std::max<std::uint64_t>(name.size(), content.size_bytes)},
      {"pieces", content.pieces},
      {"published", utc(name.published_ms())},
      {"publisher", name.publisher()},
      {"origin", name.origin()},
      {"complete", content.complete},
      {"fetching", content.fetching},
      {"progress", content.progress},
      {"missing", content.missing},
      {"newest", book.is_newest(name)},
  };
}

json limit_of(const model_book& book) {
  json result = {{"bytes_per_s", book.limit().bytes_per_s()}};
  if (book.limit().revision() > 0)
    result["since"] = utc(book.limit().revision());
  return result;
}

/// What a reader must know of every answer.
void add_witnesses(const model_book& book, json& to) {
  json silent = json::array();
  for (auto& [address, reason] : book.silent())
    silent.push_back({{"address", address}, {"reason", reason}});
  to["unreachable"] = std::move(silent);
  to["settling"] = book.settling();
  to["left_out"] = book.left_out();
}

json head_of(const pb::ContentName& name) {
  return {{"name", name.name()},
          {"version", name.version()},
          {"address", hex(name.address())},
          {"size_bytes", name.size()}};
}

json to_json(const model_job_name& job, const pb::ContentJob& status) {
  json result = {
      {"id", to_string(job)},
      {"node", job.node},
      {"verb", name_of(status.verb())},
      {"state", name_of(status.state())},
      {"name", status.name().name()},
      {"version", status.name().version()},
      {"address", hex(status.name().address())},
      {"size_bytes", status.name().size()},
      {"bytes_done", status.bytes_done()},
      {"bytes_total", status.bytes_total()},
      {"bytes_shared", status.bytes_shared()},
      {"bytes_per_s", status.bytes_per_s()},
      {"peers", status.peers()},
      {"reason", status.reason()},
  };
  if (status.eta_ms() > 0)
    result["eta_ms"] = status.eta_ms();
  return result;
}

} // namespace

std::string models_json(const model_book& book) {
  json models = json::array();
  for (auto& name : book.names())
    if (!name.removed())
      models.push_back(to_json(book, name));
  json result = {{"models", std::move(models)}, {"limit", limit_of(book)}, {"members", book.member_count()}};
  add_witnesses(book, result);
  return dump(result);
}

std::string model_json(const model_book& book, const std::string& name, const std::vector<pb::ContentName>& versions) {
  json list = json::array();
  for (auto& version : versions) {
    auto entry = to_json(book, version);
    entry["removed"] = version.removed();
    json holders = json::array();
    if (auto content = book.content(version.address()))
      for (auto& [node, holder] : content->holders)
        holders.push_back(to_json(holder, entry["size_bytes"].get<std::uint64_t>()));
    entry["holders"] = std::move(holders);
    list.push_back(std::move(entry));
  }
  json result = {
      {"name", name}, {"versions", std::move(list)}, {"limit", limit_of(book)}, {"members", book.member_count()}};
  add_witnesses(book, result);
  return dump(result);
}

std::string model_order_json(const pb::ContentName& name, const std::vector<model_answer>& answers) {
  json nodes = json::array();
  for (auto& answer : answers) {
    json entry = {{"node", answer.node}};
    if (!answer.accepted()) {
      entry["state"] = "failed";
      entry["code"] = answer.code();
    } else if (answer.reply->job().id() != 0) {
      entry["state"] = name_of(answer.reply->job().state());
      entry["job"] = to_string(model_job_name{answer.node, answer.reply->job().id(), {}});
    } else {
      entry["state"] = "done";
    }
    entry["reason"] = answer.reason();
    nodes.push_back(std::move(entry));
  }
  auto result = head_of(name);
  result["nodes"] = std::move(nodes);
  return dump(result);
}

std::string model_removal_json(const pb::ContentName& name, const std::vector<model_answer>& answers) {
  json nodes = json::array();
  for (auto& answer : answers) {
    auto freed = answer.accepted() && answer.reason().empty();
    auto told = answer.reply ? answer.reply->job().bytes_done() : 0;
    json entry = {{"node", answer.node},
                  {"state", freed               ? "freed"
                            : answer.accepted() ? "stays"
                                                : "failed"},
                  {"freed_bytes", !freed     ? 0
                                  : told > 0 ? told
                                             : answer.bytes},
                  {"reason", answer.reason()}};
    if (!answer.accepted())
      entry["code"] = answer.code();
    nodes.push_back(std::move(entry));
  }
  auto result = head_of(name);
  result["nodes"] = std::move(nodes);
  return dump(result);
}

std::string model_publishing_json(const std::string& node, const pb::ContentJob& job) {
  return dump({{"node", node}, {"job", to_string(model_job_name{node, job.id(), {}})}});
}

std::string model_job_json(const model_job_name& job, const pb::ContentJob& status) {
  return dump(to_json(job, status));
}

std::string model_jobs_json(const std::vector<model_job_name>& jobs, const std::vector<model_answer>& answers) {
  json list = json::array();
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    auto& answer = answers.at(i);
    if (answer.accepted())
      list.push_back(to_json(jobs[i], answer.reply->job()));
    else
      list.push_back({{"id", to_string(jobs[i])},
                      {"node", jobs[i].node},
                      {"state", "unknown"},
                      {"code", answer.code()},
                      {"reason", answer.reason()}});
  }
  return dump({{"jobs", std::move(list)}});
}

std::string model_nodes_json(const model_book& book) {
  json nodes = json::array();
  for (auto& [name, member] : book.members())
    nodes.push_back({{"node", name},
                     {"zone", member.zone()},
                     {"store_used_bytes", member.store_used()},
                     {"store_max_bytes", member.store_max()},
                     {"uplink_bytes_per_s", member.uplink()},
                     {"downlink_bytes_per_s", member.downlink()},
                     {"reachability", member.reachability()},
                     {"reason", member.problem()}});
  json result = {{"nodes", std::move(nodes)}};
  add_witnesses(book, result);
  return dump(result);
}

std::string model_limit_json(const model_book& book) {
  auto result = limit_of(book);
  add_witnesses(book, result);
  return dump(result);
}

} // namespace astra
