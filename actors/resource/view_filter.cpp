#include "actors/resource/view_filter.hpp"

#include <algorithm>

namespace astra {

view_filter::view_filter(const pb::ViewFilter& wish) : apps_(wish.apps().begin(), wish.apps().end()) {
  for (auto& label : wish.labels())
    labels_.emplace_back(label.key(), label.value());
  auto tidy = [](auto& values) {
    std::sort(values.begin(), values.end());
    values.erase(std::unique(values.begin(), values.end()), values.end());
  };
  tidy(apps_);
  tidy(labels_);
}

bool carries_all(const pb::NodeProfile& profile, const std::vector<std::pair<std::string, std::string>>& labels) {
  return std::all_of(labels.begin(), labels.end(), [&](auto& label) {
    return std::any_of(profile.labels().begin(), profile.labels().end(),
                       [&](auto& has) { return has.key() == label.first && has.value() == label.second; });
  });
}

bool view_filter::matches(const pb::NodeProfile& profile) const {
  auto wanted = [this](auto& replica) { return std::binary_search(apps_.begin(), apps_.end(), replica.app()); };
  if (!apps_.empty() && std::none_of(profile.replicas().begin(), profile.replicas().end(), wanted))
    return false;
  return carries_all(profile, labels_);
}

posting_union view_filter::candidates(const view_index& index) const {
  posting_union result;
  for (auto& app : apps_)
    result.add(view_index::list(index.apps(), app));
  auto narrowest = apps_.empty() ? nullptr : &result;
  posting_union labelled;
  for (auto& [key, value] : labels_) {
    posting_union list;
    list.add(view_index::list(index.label(key), value));
    if (narrowest == nullptr || list.size_max() < narrowest->size_max()) {
      labelled = std::move(list);
      narrowest = &labelled;
    }
  }
  return narrowest == &labelled ? labelled : result;
}

} // namespace astra
