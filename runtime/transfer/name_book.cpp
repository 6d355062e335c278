#include "runtime/transfer/name_book.hpp"

#include "config/naming.hpp"
#include "p2p/content.hpp"
#include "runtime/transfer/origin_url.hpp"

#include <algorithm>
#include <tuple>
#include <utility>

namespace astra {
namespace {

constexpr std::size_t names_max = 100'000;
constexpr std::uint64_t versions_ahead = 10'000;

bool well_formed(const pb::ContentName& name) {
  return name.version() > 0 && name.address().size() == sizeof(p2p::content_address)
         && name_problem(name.name()).empty() && (name.origin().empty() || origin_problem(name.origin()).empty());
}

/// Of two contents that were given the same version in two parts of a cluster, the one that counts.
bool before(const pb::ContentName& a, const pb::ContentName& b) {
  return std::tuple{a.published_ms(), a.address()} < std::tuple{b.published_ms(), b.address()};
}

/// Of two that mean the same content, the one whose origin counts.
bool newer(const pb::ContentName& a, const pb::ContentName& b) {
  return std::tuple{a.published_ms(), a.origin()} > std::tuple{b.published_ms(), b.origin()};
}

} // namespace

name_book::verdict name_book::learn(const pb::ContentName& name) {
  auto result = take(name);
  if (result == verdict::learned)
    note_origin(name);
  return result;
}

name_book::verdict name_book::take(const pb::ContentName& name) {
  if (!well_formed(name))
    return verdict::refused;
  auto found = names_.find(name.name());
  if (found == names_.end() && names_.size() >= names_max)
    return verdict::refused;
  // Versions count up: one far beyond the others is somebody's mistake, and would leave no room for more.
  std::uint64_t newest = found == names_.end() || found->second.empty() ? 0 : found->second.rbegin()->first;
  if (name.version() > newest + versions_ahead)
    return verdict::refused;
  auto [place, fresh] = names_[name.name()].try_emplace(name.version(), name);
  if (fresh)
    return verdict::learned;
  auto& known = place->second;
  if (known.address() != name.address()) {
    if (!before(name, known))
      return verdict::refused;
    known = name;
    return verdict::learned;
  }
  if (known.removed() && !name.removed())
    return verdict::removed_elsewhere;
  if (!known.removed() && !name.removed() && known.origin() != name.origin() && newer(name, known)) {
    known = name;
    return verdict::learned;
  }
  if (known.removed() || !name.removed())
    return verdict::known;
  known.set_removed(true);
  return verdict::learned;
}

pb::ContentName name_book::grant(const pb::ContentName& wish) {
  auto& versions = names_[wish.name()];
  for (auto& [version, known] : versions)
    if (known.address() == wish.address() && !known.removed()) {
      // It has moved, or is there now: the same version, published anew.
      if (!wish.origin().empty() && wish.origin() != known.origin()) {
        known.set_origin(wish.origin());
        known.set_published_ms(std::max(wish.published_ms(), known.published_ms() + 1));
        note_origin(known);
      }
      return known;
    }
  auto result = wish;
  result.set_version(versions.empty() ? 1 : versions.rbegin()->first + 1);
  result.set_removed(false);
  versions[result.version()] = result;
  note_origin(result);
  return result;
}

const pb::ContentName* name_book::find(std::string_view name, std::uint32_t version) const {
  auto found = names_.find(name);
  if (found == names_.end())
    return nullptr;
  if (version != 0) {
    auto one = found->second.find(version);
    return one == found->second.end() ? nullptr : &one->second;
  }
  for (auto i = found->second.rbegin(); i != found->second.rend(); ++i)
    if (!i->second.removed())
      return &i->second;
  return nullptr;
}

std::vector<pb::ContentName> name_book::list(std::string_view name) const {
  std::vector<pb::ContentName> result;
  for (auto& [known, versions] : names_)
    if (name.empty() || known == name)
      for (auto& [version, one] : versions)
        result.push_back(one);
  return result;
}

const std::string& name_book::origin_of(std::string_view address) const {
  static const std::string none;
  auto found = origins_.find(address);
  return found == origins_.end() ? none : found->second;
}

void name_book::note_origin(const pb::ContentName& changed) {
  auto& address = changed.address();
  // To look at all names takes long.
  if (changed.origin().empty() && !origins_.contains(address))
    return;
  const pb::ContentName* best = nullptr;
  for (auto one : names_of(address))
    if (!one->origin().empty() && (!best || newer(*one, *best)))
      best = one;
  if (best)
    origins_[address] = best->origin();
  else
    origins_.erase(address);
}

std::vector<const pb::ContentName*> name_book::names_of(std::string_view address) const {
  std::vector<const pb::ContentName*> result;
  visit_all([&](const pb::ContentName& one) {
    if (one.address() == address && !one.removed())
      result.push_back(&one);
  });
  return result;
}

} // namespace astra
