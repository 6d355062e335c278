#include "runtime/gateway/quota_summary.hpp"

#include "actors/resource/quota_book.hpp"

#include <fmt/format.h>

#include <iterator>
#include <optional>
#include <set>
#include <utility>

namespace astra {
namespace {

using amounts = std::map<std::string, std::uint64_t>;

/// What is filled in: a quota tells nothing of what it does not limit.
amounts amounts_of(const pb::Resources& resources) {
  amounts result;
  if (resources.cpu_milli() > 0)
    result["cpu"] = resources.cpu_milli();
  if (resources.memory_bytes() > 0)
    result["memory"] = resources.memory_bytes();
  for (auto& entry : resources.accelerators())
    result[entry.kind()] += entry.count();
  return result;
}

std::uint64_t at(const amounts& from, const std::string& dimension) {
  auto found = from.find(dimension);
  return found == from.end() ? 0 : found->second;
}

/// "16", of what `unit_of` names.
std::string number_of(const std::string& dimension, std::uint64_t value) {
  if (dimension == "cpu")
    return fmt::format("{:g}", static_cast<double>(value) / 1000.0);
  if (dimension == "memory")
    return fmt::format("{:.4g}", static_cast<double>(value) / (1024.0 * 1024.0 * 1024.0));
  return std::to_string(value);
}

std::string unit_of(const std::string& dimension) {
  return dimension == "cpu" ? "cores" : dimension == "memory" ? "GiB of memory" : dimension;
}

std::string text_of(std::chrono::milliseconds time) {
  auto seconds = std::chrono::duration_cast<std::chrono::seconds>(time).count();
  if (seconds < 120)
    return fmt::format("{} s", seconds);
  return seconds < 7200 ? fmt::format("{} min", seconds / 60) : fmt::format("{} h", seconds / 3600);
}

std::string replicas_text(std::uint32_t count) {
  return count == 1 ? "1 replica" : fmt::format("{} replicas", count);
}

void append(std::string& to, const std::string& more, const char* between = "; ") {
  if (!more.empty())
    to += (to.empty() ? "" : between) + more;
}

/// One Resource's word on one quota.
struct word {
  const pb::ResourceReport* from = nullptr;
  /// Null: it has no such quota.
  const pb::QuotaReport* quota = nullptr;
};

/// A group and what its Resources said.
struct group_words {
  std::vector<const pb::ResourceReport*> reports;
  std::set<std::string> businesses;
};

std::string keeper_of(const std::vector<word>& words) {
  std::string any;
  for (auto& [from, quota] : words) {
    if (quota == nullptr || quota->keeper().empty())
      continue;
    // Its own word counts: others learn of the end of a lease when it is over.
    if (quota->keeper() == from->name())
      return quota->keeper();
    any = quota->keeper();
  }
  return any;
}

/// "main-1, main-3 say 16 cores, main-2 says 8": empty when all say the same.
std::string disagreement(const std::vector<word>& words, const std::string& dimension) {
  std::vector<std::pair<std::optional<std::uint64_t>, std::string>> said;
  for (auto& [from, quota] : words) {
    std::optional<std::uint64_t> limit;
    if (quota != nullptr)
      if (auto all = amounts_of(quota->limit()); all.count(dimension) != 0)
        limit = all.at(dimension);
    auto same = std::find_if(said.begin(), said.end(), [&](auto& entry) { return entry.first == limit; });
    if (same != said.end())
      same->second += ", " + from->name();
    else
      said.emplace_back(limit, from->name());
  }
  if (said.size() < 2)
    return {};
  std::string text;
  auto unit = " " + unit_of(dimension);
  for (auto& [limit, who] : said) {
    auto says = who.find(", ") == std::string::npos ? "says" : "say";
    append(text,
           limit ? fmt::format("{} {} {}{}", who, says, number_of(dimension, *limit), std::exchange(unit, ""))
                 : fmt::format("{} {} no limit of {}", who, says, dimension),
           ", ");
  }
  return text;
}

/// Why no Resource grants leases.
std::string why_no_keeper(const std::string& group, const group_words& words, const quota_witnesses& from) {
  std::size_t all = words.reports.size();
  if (auto configured = from.configured.find(group); configured != from.configured.end())
    all = std::max(all, configured->second);
  std::size_t heard = 0;
  std::string who;
  for (auto report : words.reports) {
    all = std::max(all, static_cast<std::size_t>(report->shards_size()));
    auto hears = static_cast<std::size_t>(
        std::count_if(report->shards().begin(), report->shards().end(), [](auto& shard) { return !shard.lost(); }));
    if (who.empty() || hears > heard) {
      heard = hears;
      who = report->name();
    }
  }
  auto majority = all / 2 + 1;
  if (heard >= majority)
    return "no Resource keeps it now, so nothing new is given out: the Resources agree on one within some 10 s of "
           "their "
           "start or of the loss of one";
  auto text = fmt::format("no Resource keeps it, so nothing new is given out: {} hears {} of {} Resources, and a "
                          "majority of {} decides",
                          who, heard, all, majority);
  if (all == 2)
    text += "; with two Resources quotas need both: start the other one again, or run three Resources, or one";
  return text;
}

std::string waiting_text(const std::vector<quota_wait>& waiting) {
  std::uint32_t replicas = 0;
  std::string apps;
  for (auto& wait : waiting) {
    replicas += wait.replicas;
    append(apps, fmt::format("{} of {} for {}", wait.replicas, wait.app, text_of(wait.lasts)), ", ");
  }
  return waiting.empty() ? std::string{}
                         : fmt::format("{} {} ({})", replicas_text(replicas), replicas == 1 ? "waits" : "wait", apps);
}

std::string why_not_fine(const quota_row& row, const std::vector<word>& words, const group_words& group,
                         const quota_witnesses& from) {
  std::string text;
  std::string unlike;
  std::string without;
  for (auto& [report, quota] : words)
    if (quota == nullptr)
      append(without, report->name(), ", ");
  if (!without.empty())
    append(unlike,
           fmt::format("{} {} no quota for it", without, without.find(", ") == std::string::npos ? "has" : "have"));
  std::vector<word> with;
  std::copy_if(words.begin(), words.end(), std::back_inserter(with), [](auto& one) { return one.quota != nullptr; });
  for (auto& dimension : row.dimensions)
    append(unlike, disagreement(with, dimension.name));
  if (!unlike.empty())
    append(text, fmt::format("Resources disagree: {}; give all of a group the same {}", unlike, quota_key));
  if (row.keeper.empty())
    append(text, why_no_keeper(row.group, group, from));
  auto waits = waiting_text(row.waiting);
  for (auto& dimension : row.dimensions)
    if (dimension.in_use > dimension.limit)
      append(text, fmt::format("{} of {} {} in use, which is over the limit: what runs stays, and nothing new starts",
                               number_of(dimension.name, dimension.in_use), number_of(dimension.name, dimension.limit),
                               unit_of(dimension.name)));
  auto used_up = row.used_up();
  if (!used_up.empty())
    append(text, fmt::format("{} used up{}", fmt::join(used_up, ", "), waits.empty() ? "" : ": " + waits));
  else if (!waits.empty())
    append(text, fmt::format("{}: {}", waits, row.waiting.front().reason));
  if (auto silent = from.silent.find(row.group); silent != from.silent.end() && !silent->second.empty())
    append(text, fmt::format("without the word of {}, which {} not answer", fmt::join(silent->second, ", "),
                             silent->second.size() == 1 ? "does" : "do"));
  return text;
}

quota_row summarise(const std::string& group, const std::string& business, const group_words& said,
                    const quota_witnesses& from, const std::vector<quota_wait>& waiting) {
  quota_row row;
  row.business = business;
  row.group = group;
  row.waiting = waiting;
  std::vector<word> words;
  for (auto report : said.reports) {
    auto& quotas = report->quotas();
    auto found = std::find_if(quotas.begin(), quotas.end(), [&](auto& entry) { return entry.business() == business; });
    words.push_back({report, found == quotas.end() ? nullptr : &*found});
  }
  row.keeper = keeper_of(words);
  std::map<std::string, quota_dimension> found;
  std::map<std::string, std::uint64_t> limits;
  for (auto& [report, quota] : words) {
    if (quota == nullptr)
      continue;
    auto own = amounts_of(quota->limit());
    for (auto& [name, limit] : own) {
      auto& counts = limits.try_emplace(name, limit).first->second;
      counts = std::min(counts, limit);
    }
    auto in_use = amounts_of(quota->in_use());
    auto given_out = amounts_of(quota->given_out());
    auto leased = amounts_of(quota->lease());
    // A limit of nothing shows in what is asked for.
    for (auto& all : {own, in_use, given_out, leased, amounts_of(quota->refused())})
      for (auto& [name, ignored] : all)
        found[name].name = name;
    for (auto& [name, dimension] : found) {
      dimension.in_use = std::max(dimension.in_use, at(in_use, name));
      dimension.given_out += at(given_out, name);
      dimension.leased += at(leased, name);
    }
  }
  for (auto& [report, quota] : words)
    if (quota != nullptr && report->name() == row.keeper)
      for (auto& [name, limit] : amounts_of(quota->limit()))
        limits[name] = limit;
  for (auto& [name, dimension] : found)
    dimension.limit = at(limits, name);
  // Cores and memory first, then cards.
  for (auto first : {"cpu", "memory"})
    if (auto known = found.extract(first); !known.empty())
      row.dimensions.push_back(std::move(known.mapped()));
  for (auto& [name, dimension] : found)
    row.dimensions.push_back(std::move(dimension));
  row.reason = why_not_fine(row, words, said, from);
  return row;
}

} // namespace

std::vector<std::string> quota_row::used_up() const {
  std::vector<std::string> result;
  for (auto& dimension : dimensions)
    if (dimension.left() == 0)
      result.push_back(dimension.name);
  return result;
}

std::vector<quota_row> summarise_quotas(const quota_witnesses& from,
                                        const std::map<std::string, std::vector<quota_wait>>& waiting) {
  std::map<std::string, group_words> groups;
  for (auto& report : from.reports) {
    auto& group = groups[report.group()];
    group.reports.push_back(&report);
    for (auto& quota : report.quotas())
      group.businesses.insert(quota.business());
  }
  std::vector<quota_row> result;
  for (auto& [name, words] : groups)
    for (auto& business : words.businesses) {
      auto waits = waiting.find(business);
      result.push_back(
          summarise(name, business, words, from, waits == waiting.end() ? std::vector<quota_wait>{} : waits->second));
    }
  return result;
}

} // namespace astra
