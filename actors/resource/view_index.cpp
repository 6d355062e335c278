#include "actors/resource/view_index.hpp"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <tuple>
#include <vector>

namespace astra {
namespace {

enum class facet : std::uint8_t { label, accelerator, app };

/// One thing that a profile says.  Points into it.
struct term {
  facet what;
  /// Of a label.
  std::string_view key;
  std::string_view value;

  auto order() const { return std::tuple{what, key, value}; }
  bool operator<(const term& other) const { return order() < other.order(); }
  bool operator==(const term& other) const { return order() == other.order(); }
};

std::vector<term> terms_of(const pb::NodeProfile& profile) {
  std::vector<term> result;
  for (auto& label : profile.labels())
    result.push_back({facet::label, label.key(), label.value()});
  for (auto& card : profile.accelerators())
    if (card.count() > 0)
      result.push_back({facet::accelerator, {}, card.kind()});
  for (auto& card : profile.capacity().accelerators())
    if (card.count() > 0)
      result.push_back({facet::accelerator, {}, card.kind()});
  for (auto& replica : profile.replicas())
    result.push_back({facet::app, {}, replica.app()});
  std::sort(result.begin(), result.end());
  result.erase(std::unique(result.begin(), result.end()), result.end());
  return result;
}

template <class Map>
auto& at_or_new(Map& map, std::string_view key) {
  auto found = map.find(key);
  return found != map.end() ? found->second : map.emplace(key, typename Map::mapped_type{}).first->second;
}

void erase_from(view_index::by_value& values, std::string_view value, node_id node) {
  auto found = values.find(value);
  if (found == values.end())
    return;
  found->second.erase(node);
  if (found->second.empty())
    values.erase(found);
}

} // namespace

void view_index::replace(node_id node, const pb::NodeProfile& before, const pb::NodeProfile& after) {
  if (&before == &after)
    return;
  auto old_terms = terms_of(before);
  auto new_terms = terms_of(after);
  std::vector<term> gone;
  std::vector<term> come;
  std::set_difference(old_terms.begin(), old_terms.end(), new_terms.begin(), new_terms.end(), std::back_inserter(gone));
  std::set_difference(new_terms.begin(), new_terms.end(), old_terms.begin(), old_terms.end(), std::back_inserter(come));
  for (auto& [what, key, value] : gone) {
    if (what != facet::label) {
      erase_from(what == facet::app ? apps_ : accelerators_, value, node);
      continue;
    }
    auto values = labels_.find(key);
    if (values == labels_.end())
      continue;
    erase_from(values->second, value, node);
    if (values->second.empty())
      labels_.erase(values);
  }
  for (auto& [what, key, value] : come) {
    auto& values = what == facet::label ? at_or_new(labels_, key) : what == facet::app ? apps_ : accelerators_;
    at_or_new(values, value).insert(node);
  }
}

const view_index::by_value& view_index::label(std::string_view key) const {
  static const by_value none;
  auto found = labels_.find(key);
  return found == labels_.end() ? none : found->second;
}

const posting_list& view_index::list(const by_value& values, std::string_view value) {
  static const posting_list none;
  auto found = values.find(value);
  return found == values.end() ? none : found->second;
}

} // namespace astra
