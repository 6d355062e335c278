#include "actors/resource/node_pages.hpp"

#include "actors/resource/node_facts.hpp"
#include "actors/resource/node_filter.hpp"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace astra {
namespace {

bool anybody_has(const cluster_view& view, const std::string& key) {
  return std::any_of(view.nodes().begin(), view.nodes().end(), [&](auto& entry) {
    auto& labels = entry.second.row.shape().labels();
    return std::any_of(labels.begin(), labels.end(), [&](auto& label) { return label.key() == key; });
  });
}

/// Keys of labels of the first so many nodes, sorted.
std::vector<std::string> known_labels(const cluster_view& view, std::size_t rows) {
  std::set<std::string> keys;
  for (auto& [id, node] : view.nodes()) {
    if (rows-- == 0)
      break;
    for (auto& label : node.row.shape().labels())
      keys.insert(label.key());
  }
  return {keys.begin(), keys.end()};
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
      if (!anybody_has(view, label.key))
        return refuse(node_filter::unknown_label(label, known_labels(view, limits.rows)));
  auto most_bytes = query.limit_bytes() == 0 ? limits.bytes : std::min<std::size_t>(query.limit_bytes(), limits.bytes);
  std::map<resource_id, std::string> homes;
  for (auto& [id, shard] : view.shards())
    homes[id] = resource_name(view, id);
  pb::NodePage page;
  page.set_last(query.after());
  std::size_t bytes = 0;
  std::size_t rows = 0;
  auto node = query.after() == 0 ? view.nodes().begin() : view.nodes().upper_bound(node_id{query.after()});
  for (; node != view.nodes().end(); ++node) {
    if (rows++ == limits.rows) {
      page.set_more(true);
      break;
    }
    auto& [id, entry] = *node;
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
    page.set_last(id.value());
  }
  return page;
}

} // namespace astra
