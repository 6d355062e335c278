#pragma once

#include "runtime/shell/syntax.hpp"

#include <caf/expected.hpp>

#include <functional>
#include <string>
#include <vector>

// What a pipeline does with lists of objects.  Plain functions over JSON: where a value comes from is the caller's.

namespace astra::shell {

/// The rows of a value: itself when it is a list, the first list of objects in an object such as {"apps": [...]}, else
/// the object as the only row.  Fails for what has no rows.
caf::expected<json> rows_of(const json& what);

/// Of all objects in a list, in the order in which they come first.
std::vector<std::string> keys_of(const json& rows);

/// What is at a path; null: nothing.
const json* find(const json& in, const std::vector<std::string>& path);

/// Value of a $result, a variable or an @app; fails when there is none.
using resolver = std::function<caf::expected<json>(const reference&)>;

/// A number, a literal or a text with what is inserted; what has a unit is as it was written.
caf::expected<json> evaluate(const value& what, const resolver& resolve);

/// Whether the condition holds for `row`.  A key that the row does not have equals nothing and is neither more nor
/// less. Units follow the key: a duration is compared in milliseconds, with a key that ends in _s in seconds; a size in
/// bytes; % as a share of 1.
caf::expected<bool> holds(const condition& what, const json& row, const resolver& resolve);

/// Fails with errc::invalid_argument and what is meant for a key that no row has, and none is known to have.  Of no
/// rows at all nobody knows.
caf::error check_key(const std::vector<std::string>& path, const json& rows,
                     const std::vector<std::string>& known = {});
caf::error check_keys(const condition& what, const json& rows, const std::vector<std::string>& known = {});

/// Does one stage.  Fails with errc::invalid_argument, in words for the user, as for a key that no row has.
/// @param known keys that rows may have, though none of these does
caf::expected<json> apply(const stage& what, const json& in, const resolver& resolve,
                          const std::vector<std::string>& known = {});

/// A value put into a text or handed to a command: a text as it is, all else as JSON.
std::string plain_text(const json& what);

} // namespace astra::shell
