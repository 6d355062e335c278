#pragma once

#include "messages/wire/transfer.pb.h"

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace astra {

/// Which content a version of a name means.  A version means one content for ever; one that was removed stays known as
/// removed, so that nobody who missed it brings it back.
///
/// A plain class.
class name_book {
public:
  enum class verdict {
    /// Nothing new.
    known,
    learned,
    /// Whoever says so has missed that it was removed.
    removed_elsewhere,
    /// It is no name, or means another content here: the one that was published first counts.
    refused,
  };

  verdict learn(const pb::ContentName& name);
  /// The next version of a name for a content, or the one it has already.
  pb::ContentName grant(const pb::ContentName& wish);

  /// Null: not known.  A version of 0: the newest that was not removed.
  const pb::ContentName* find(std::string_view name, std::uint32_t version) const;
  /// All of one name, or with an empty one all there are, removed ones too; ascending by name and version.
  std::vector<pb::ContentName> list(std::string_view name = {}) const;
  /// All there are, in that order: `visit(name)`.
  template <class Visit>
  void visit_all(Visit visit) const {
    for (auto& [name, versions] : names_)
      for (auto& [version, one] : versions)
        visit(one);
  }
  /// Names that mean a content and were not removed; good until the book changes.
  std::vector<const pb::ContentName*> names_of(std::string_view address) const;

  /// URL of where a content has its files, too, as it was published last under any of its names; empty: there is none.
  const std::string& origin_of(std::string_view address) const;

private:
  verdict take(const pb::ContentName& name);
  void note_origin(const pb::ContentName& changed);

  std::map<std::string, std::map<std::uint32_t, pb::ContentName>, std::less<>> names_;
  /// By address.
  std::map<std::string, std::string, std::less<>> origins_;
};

} // namespace astra
