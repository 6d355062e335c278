#pragma once

#include "runtime/shell/parse.hpp"
#include "runtime/shell/shell_world.hpp"

#include <caf/expected.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace astra::shell {

/// The cluster that a script wants to run in: "cluster nodes=5 cores=2".  What is not stated is unset.
struct cluster_shape {
  std::optional<std::uint32_t> nodes;
  std::optional<std::uint32_t> resources;
  /// Of each node.
  std::optional<std::uint32_t> cpu_milli;
  std::optional<std::uint64_t> memory_bytes;
};

/// As many processes of one kind a script may state.
constexpr std::uint32_t shape_nodes_max = 64;
constexpr std::uint32_t shape_resources_max = 16;

/// Reads what follows the word "cluster".  Fails with invalid_argument, in words for the user.
caf::expected<cluster_shape> read_shape(const std::vector<request::word>& words);

/// A script as a world that makes its own cluster needs it.
struct shaped_script {
  script statements;
  /// What its first statement says, if that is "cluster"; else nothing is stated.
  cluster_shape shape;
  std::optional<syntax_error> error;
};

/// Parses a script, and reads the shape in its first statement, which must be stated in plain values.
shaped_script parse_shaped(std::string_view text);

} // namespace astra::shell
