#pragma once

#include <astra/actor_abi.hpp>
#include <caf/expected.hpp>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace astra {

/// A shared library of actors (docs/actors.md), loaded into this process.  Its code stays loaded until the process
/// ends: threads that it started may still run.
class actor_library {
public:
  /// @param path Of the library, or of a directory that holds one file that ends in ".so".
  /// Fails with invalid_argument and what would cure it: no such file, no library, none of actors, one that was built
  /// for another version of the interface, two actors of one name.
  static caf::expected<actor_library> load(const std::string& path);

  /// Fails with unknown_name and the names that there are.
  caf::expected<const astra_actor_type*> find(std::string_view name) const;

  /// In the order in which they were registered.
  std::vector<const astra_actor_type*> types() const;

  /// The file that was loaded.
  const std::string& file() const { return file_; }

private:
  actor_library(std::string file, const astra_actor_list* list) : file_(std::move(file)), list_(list) {}

  std::string file_;
  const astra_actor_list* list_;
};

/// Text of a library's, as a text of ours.
std::string text_of(astra_bytes bytes);

} // namespace astra
