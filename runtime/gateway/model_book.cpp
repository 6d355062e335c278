#include "runtime/gateway/model_book.hpp"

#include "config/spelling.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <optional>
#include <tuple>

namespace astra {
namespace {

/// Of two words about the same node's holding, the one that has more is the newer one.
bool further(const pb::Holding& a, const pb::Holding& b) {
  auto rank = [](const pb::Holding& one) { return std::tuple{one.complete(), one.bytes_done(), one.state()}; };
  return rank(a) > rank(b);
}

/// Null: the node has nothing of it.
const pb::Holding* holding_of(const model_content* content, const std::string& node) {
  if (content == nullptr)
    return nullptr;
  auto found = content->holders.find(node);
  return found == content->holders.end() ? nullptr : &found->second.holding();
}

std::uint32_t takers(const model_content& content) {
  return content.complete + content.fetching;
}

} // namespace

void model_book::add(const pb::SwarmPage& page) {
  ++pages_;
  settling_ |= page.settling();
  left_out_ += page.left_out();
  for (auto& name : page.names())
    names_.learn(name);
  for (auto& one : page.contents()) {
    auto& known = contents_[one.address()];
    // Counts of a tracker that hears of fewer nodes would be of another moment, or of a part.
    if (one.complete() + one.fetching() >= takers(known)) {
      known.complete = one.complete();
      known.fetching = one.fetching();
      known.progress = one.progress();
      known.missing = one.missing();
    }
    known.size_bytes = std::max<std::uint64_t>(known.size_bytes, one.size());
    known.pieces = std::max(known.pieces, one.pieces());
    for (auto& holder : one.holders()) {
      auto [place, fresh] = known.holders.emplace(holder.node(), holder);
      if (!fresh && further(holder.holding(), place->second.holding()))
        place->second = holder;
    }
  }
  for (auto& member : page.members()) {
    auto [place, fresh] = members_.emplace(member.name(), member);
    if (!fresh && place->second.process().empty())
      place->second = member;
  }
  if (page.limit().revision() > limit_.revision())
    limit_ = page.limit();
}

void model_book::add_silent(std::string address, std::string reason) {
  silent_[std::move(address)] = std::move(reason);
}

std::string model_book::why_silent() const {
  std::string text;
  for (auto& [address, reason] : silent_)
    text += fmt::format("{}{}: {}", text.empty() ? "" : "; ", address, reason);
  return text;
}

std::string model_book::doubt() const {
  if (!silent_.empty())
    return "not all trackers answer (" + why_silent() + ")";
  return settling_ ? "a tracker has just started and may not have heard of it yet" : "";
}

model_refusal model_book::not_found(std::string message) const {
  if (auto why = doubt(); !why.empty())
    return {"unavailable", fmt::format("{}, but {}; try again", message, why)};
  return {"unknown_name", std::move(message)};
}

model_result<pb::ContentName> model_book::find(const content_reference& wanted) const {
  auto versions = names_.list(wanted.name);
  if (versions.empty()) {
    std::vector<std::string> known;
    for (auto& one : names_.list())
      if (!one.removed() && (known.empty() || known.back() != one.name()))
        known.push_back(one.name());
    auto meant = closest(wanted.name, known);
    return not_found(
        fmt::format("no model '{}'{}", wanted.name, meant ? fmt::format("; did you mean '{}'?", *meant) : ""));
  }
  auto found = names_.find(wanted.name, wanted.version);
  if (found != nullptr && !found->removed())
    return *found;
  if (found != nullptr)
    return model_refusal{"unknown_name", fmt::format("model '{}' was removed", to_string(wanted))};
  std::vector<std::uint32_t> there;
  for (auto& one : versions)
    if (!one.removed())
      there.push_back(one.version());
  if (there.empty())
    return model_refusal{"unknown_name", fmt::format("all versions of model '{}' were removed", wanted.name)};
  return not_found(fmt::format("model '{}' has no version {}; there {} {}", wanted.name, wanted.version,
                               there.size() == 1 ? "is only" : "are", fmt::join(there, ", ")));
}

model_result<std::vector<pb::ContentName>> model_book::versions(const std::string& name) const {
  auto newest = find({name, 0});
  if (auto refused = std::get_if<model_refusal>(&newest))
    return *refused;
  return names_.list(name);
}

bool model_book::is_newest(const pb::ContentName& name) const {
  auto newest = names_.find(name.name(), 0);
  return newest != nullptr && newest->version() == name.version();
}

const model_content* model_book::content(const std::string& address) const {
  auto found = contents_.find(address);
  return found == contents_.end() ? nullptr : &found->second;
}

const pb::SwarmMember* model_book::member(const std::string& node) const {
  auto found = members_.find(node);
  return found == members_.end() ? nullptr : &found->second;
}

model_refusal model_book::unknown_node(const std::string& node) const {
  std::vector<std::string> known;
  for (auto& [name, member] : members_)
    known.push_back(name);
  auto meant = closest(node, known);
  auto message = fmt::format("no node '{}' that keeps models{}", node,
                             meant ? fmt::format("; did you mean '{}'?", *meant)
                                   : std::string{" reports to the trackers; astra node list shows all nodes, and "
                                                 "store.enabled of its file says whether it keeps any"});
  if (auto why = doubt(); !why.empty())
    return {"unavailable", fmt::format("{}, but {}; try again", message, why)};
  return {"unknown_node", std::move(message)};
}

model_result<pb::SwarmMember> model_book::publisher(const model_wish& wish) const {
  if (!wish.node.empty()) {
    auto named = member(wish.node);
    if (named == nullptr)
      return unknown_node(wish.node);
    return *named;
  }
  const pb::SwarmMember* best = nullptr;
  auto rank = [](const pb::SwarmMember& one) { return std::pair{!one.problem().empty(), one.store_used()}; };
  for (auto& [name, one] : members_)
    if (!wish.machine.empty() && one.machine() == wish.machine && (best == nullptr || rank(one) < rank(*best)))
      best = &one;
  if (best != nullptr)
    return *best;
  auto why = doubt();
  return model_refusal{"conflict",
                       fmt::format("no node of the cluster runs on this machine, so none can read {}; copy it to the "
                                   "machine of one and name that node with --node{}",
                                   wish.path, why.empty() ? "" : fmt::format(" ({})", why))};
}

model_result<std::vector<std::string>> model_book::checked(const std::vector<std::string>& nodes) const {
  for (auto& node : nodes)
    if (member(node) == nullptr)
      return unknown_node(node);
  return nodes;
}

model_result<std::vector<std::string>> model_book::fetchers(const model_nodes& wish,
                                                            const pb::ContentName& name) const {
  if (wish.which == model_nodes::kind::named)
    return checked(wish.names);
  std::vector<std::string> chosen;
  if (members_.empty())
    return model_refusal{"conflict", "no node of the cluster keeps models (store.enabled of its file)"};
  if (wish.which == model_nodes::kind::all) {
    for (auto& [node, one] : members_)
      chosen.push_back(node);
    return chosen;
  }
  auto known = content(name.address());
  std::map<std::string, std::vector<const pb::SwarmMember*>> others;
  std::map<std::string, std::size_t> in_zone;
  // Unfinished, node, zone.
  std::vector<std::tuple<bool, std::string, std::string>> begun;
  for (auto& [node, one] : members_) {
    auto has = holding_of(known, node);
    if (has != nullptr && (has->complete() || has->wants()))
      begun.emplace_back(!has->complete(), node, one.zone());
    else if (one.problem().empty())
      others[one.zone()].push_back(&one);
  }
  std::sort(begun.begin(), begun.end());
  for (auto& [unfinished, node, zone] : begun)
    if (chosen.size() < wish.count) {
      chosen.push_back(node);
      ++in_zone[zone];
    }
  for (auto& [zone, members] : others) // The last one is taken first.
    std::stable_sort(members.begin(), members.end(),
                     [](auto* a, auto* b) { return a->store_used() > b->store_used(); });
  while (chosen.size() < wish.count && !others.empty()) {
    auto zone = std::min_element(others.begin(), others.end(),
                                 [&](auto& a, auto& b) { return in_zone[a.first] < in_zone[b.first]; });
    chosen.push_back(zone->second.back()->name());
    ++in_zone[zone->first];
    zone->second.pop_back();
    if (zone->second.empty())
      others.erase(zone);
  }
  if (chosen.size() < wish.count)
    return model_refusal{"conflict", fmt::format("{} nodes are wanted, and {} of the cluster can have models",
                                                 wish.count, chosen.size())};
  std::sort(chosen.begin(), chosen.end());
  return chosen;
}

model_result<std::vector<std::string>> model_book::holders(const model_nodes& wish, const pb::ContentName& name) const {
  if (wish.which == model_nodes::kind::named)
    return checked(wish.names);
  std::vector<std::string> chosen;
  if (auto known = content(name.address()))
    for (auto& [node, holder] : known->holders)
      chosen.push_back(node);
  if (chosen.empty())
    return model_refusal{"conflict", fmt::format("no node has anything of {}@{}", name.name(), name.version())};
  return chosen;
}

std::vector<std::string> model_book::witnesses(const pb::ContentName& name, std::size_t least) const {
  std::vector<std::string> chosen;
  auto known = content(name.address());
  if (known != nullptr)
    for (auto& [node, holder] : known->holders)
      chosen.push_back(node);
  for (auto with_problem : {false, true})
    for (auto& [node, one] : members_)
      if (chosen.size() < least && one.problem().empty() != with_problem
          && std::find(chosen.begin(), chosen.end(), node) == chosen.end())
        chosen.push_back(node);
  return chosen;
}

} // namespace astra
