#include "actors/resource/node_pages.hpp"

#include "actors/resource/node_facts.hpp"
#include "actors/resource/node_filter.hpp"

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace astra {
namespace {

/// Sorted.
std::vector<std::string> known_labels(const cluster_view& view) {
  std::vector<std::string> keys;
  for (auto& [key, values] : view.index().labels())
    keys.push_back(key);
  return keys;
}

pb::NodePage refuse(const node_filter::problem& problem) {
  pb::NodePage page;
  page.set_problem(problem.message);
  page.set_problem_column(static_cast<std::uint32_t>(problem.column));
  return page;
}

} // namespace

pb::NodePage list_nodes(const cluster_view& view, const pb::NodeQuery& query, cluster_view::time_point now,
                        const page_limits& limits) {
  auto parsed = node_filter::parse(query.where());
  if (auto problem = std::get_if<node_filter::problem>(&parsed))
    return refuse(*problem);
  auto& filter = std::get<node_filter>(parsed);
  // Once per listing is enough; an empty cluster knows no label and says so to nobody.
  if (query.after() == 0 && !view.nodes().empty())
    for (auto& label : filter.bare_labels())
      if (view.index().label(label.key).empty())
        return refuse(node_filter::unknown_label(label, known_labels(view)));
  auto most_bytes = query.limit_bytes() == 0 ? limits.bytes : std::min<std::size_t>(query.limit_bytes(), limits.bytes);
  std::map<resource_id, std::string> homes;
  for (auto& [id, shard] : view.shards())
    homes[id] = resource_name(view, id);
  pb::NodePage page;
  page.set_last(query.after());
  std::size_t bytes = 0;
  std::size_t rows = 0;
  // Those of which the filter may be true, when an index tells; otherwise everybody.
  auto candidates = filter.candidates(view.index());
  auto place =
      query.after() == 0 || candidates ? view.nodes().begin() : view.nodes().upper_bound(node_id{query.after()});
  node_id last{query.after()};
  auto next = [&]() -> const node_entry* {
    if (!candidates)
      return place == view.nodes().end() ? nullptr : &(place++)->second;
    last = candidates->next(last);
    return last ? view.find(last) : nullptr;
  };
  while (auto node = next()) {
    if (rows++ == limits.rows) {
      page.set_more(true);
      break;
    }
    auto& entry = *node;
    if (filter.matches(view, entry, homes[entry.origin], now)) {
      auto full = query.limit_nodes() != 0 && page.matched() == query.limit_nodes();
      if (full) {
        page.set_more(true);
        break;
      }
      if (!query.count_only()) {
        auto facts = facts_of(view, entry, now);
        bytes += facts.ByteSizeLong() + 4;
        if (bytes > most_bytes && page.nodes_size() > 0) {
          page.set_more(true);
          break;
        }
        *page.add_nodes() = std::move(facts);
      }
      page.set_matched(page.matched() + 1);
    }
    page.set_last(entry.id().value());
  }
  return page;
}

} // namespace astra
