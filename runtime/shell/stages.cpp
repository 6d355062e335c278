#include "runtime/shell/stages.hpp"

#include "actors/resource/node_filter.hpp"
#include "config/spelling.hpp"
#include "config/units.hpp"
#include "messages/errc.hpp"
#include "messages/type_ids.hpp"

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <optional>
#include <utility>

#include <fmt/format.h>

namespace astra::shell {
namespace {

caf::error problem(const std::string& message) {
  return caf::make_error(errc::invalid_argument, message);
}

std::optional<double> number_of(std::string_view written) {
  double result = 0.0;
  auto [end, error] = std::from_chars(written.data(), written.data() + written.size(), result);
  return error == std::errc{} && end == written.data() + written.size() ? std::optional{result} : std::nullopt;
}

/// "10s" next to the key "age_ms" is 10000.
caf::expected<json> to_json(const value& what, const std::string& key) {
  auto unit_at = what.written.find_first_not_of("0123456789.+-");
  auto unit = unit_at == std::string::npos ? std::string_view{} : std::string_view{what.written}.substr(unit_at);
  if (unit == "%") {
    if (auto number = number_of(std::string_view{what.written}.substr(0, unit_at)))
      return json(*number / 100.0);
  } else if (unit.ends_with("B")) {
    if (auto size = parse_size(what.written); size.value)
      return json(*size.value);
    else
      return problem(fmt::format("'{}' is no size: {}", what.written, size.problem));
  } else if (auto time = parse_fine_duration(what.written); time.value) {
    auto in_s = key.ends_with("_s") || key == "seconds";
    return json(static_cast<double>(time.value->count()) / (in_s ? 1e9 : 1e6));
  } else {
    return problem(fmt::format("'{}' is neither a duration (10s) nor a size (8GiB) nor a share (80%): {}", what.written,
                               time.problem));
  }
  return problem(fmt::format("'{}' is no number", what.written));
}

/// As `evaluate`; what has a unit is a number of what the key counts.
caf::expected<json> evaluate_for(const std::string& key, const value& what, const resolver& resolve) {
  return what.what == value::kind::quantity ? to_json(what, key) : evaluate(what, resolve);
}

bool compare(comparison how, const json& left, const json& right) {
  auto by = [how](auto& a, auto& b) {
    switch (how) {
    case comparison::less:
      return a < b;
    case comparison::less_equal:
      return a <= b;
    case comparison::greater:
      return a > b;
    case comparison::greater_equal:
      return a >= b;
    default:
      return a == b;
    }
  };
  if (how == comparison::glob)
    return right.is_string() && glob_matches(right.get<std::string>(), plain_text(left));
  if (left.is_number() && right.is_number()) {
    if (left.is_number_integer() && right.is_number_integer())
      return by(left, right);
    auto a = left.get<double>();
    auto b = right.get<double>();
    return by(a, b);
  }
  if (left.is_string() && right.is_string())
    return by(left.get_ref<const std::string&>(), right.get_ref<const std::string&>());
  auto only_equal =
      how == comparison::equal || how == comparison::not_equal || how == comparison::in || how == comparison::not_in;
  return only_equal && left == right;
}

/// Order of sorting: what is missing last, then numbers, then texts.
int rank(const json* what) {
  return what == nullptr || what->is_null() ? 3 : what->is_number() ? 0 : what->is_string() ? 1 : 2;
}

bool comes_before(const json* a, const json* b, bool falling) {
  auto left = rank(a);
  auto right = rank(b);
  if (left != right)
    return left < right;
  if (left == 3)
    return false;
  return falling ? *b < *a : *a < *b;
}

json sorted(json rows, const std::vector<field_choice>& fields) {
  std::vector<std::pair<std::vector<const json*>, const json*>> keyed;
  for (auto& row : std::as_const(rows)) {
    std::vector<const json*> keys;
    for (auto& field : fields)
      keys.push_back(find(row, field.path));
    keyed.emplace_back(std::move(keys), &row);
  }
  std::stable_sort(keyed.begin(), keyed.end(), [&](auto& a, auto& b) {
    for (std::size_t i = 0; i < fields.size(); ++i) {
      if (comes_before(a.first[i], b.first[i], fields[i].falling))
        return true;
      if (comes_before(b.first[i], a.first[i], fields[i].falling))
        return false;
    }
    return false;
  });
  json result = json::array();
  for (auto& [keys, row] : keyed)
    result.push_back(*row);
  return result;
}

json first_of(const json& rows, std::uint64_t most) {
  json result = json::array();
  for (std::size_t i = 0; i < std::min<std::uint64_t>(rows.size(), most); ++i)
    result.push_back(rows[i]);
  return result;
}

} // namespace

std::vector<std::string> keys_of(const json& rows) {
  std::vector<std::string> result;
  for (auto& row : rows)
    if (row.is_object())
      for (auto& [key, field] : row.items())
        if (std::find(result.begin(), result.end(), key) == result.end())
          result.push_back(key);
  return result;
}

caf::error check_key(const std::vector<std::string>& path, const json& rows, const std::vector<std::string>& may_have) {
  if (std::find(may_have.begin(), may_have.end(), path.front()) != may_have.end())
    return {};
  // Of no rows nobody knows the keys.
  if (rows.empty() && may_have.empty())
    return {};
  for (auto& row : rows)
    if (row.is_object() && row.contains(path.front()))
      return {};
  auto known = keys_of(rows);
  for (auto& key : may_have)
    if (std::find(known.begin(), known.end(), key) == known.end())
      known.push_back(key);
  if (known.empty())
    return problem(fmt::format("there is no key '{}': what comes in is no list of objects", path.front()));
  auto meant = closest(path.front(), known);
  return problem(fmt::format("no row has a key '{}'{}", path.front(),
                             meant ? fmt::format("; did you mean '{}'?", *meant)
                                   : fmt::format("; there are {}", fmt::join(known, ", "))));
}

caf::error check_keys(const condition& what, const json& rows, const std::vector<std::string>& may_have) {
  for (auto& part : what.parts)
    if (auto wrong = check_keys(part, rows, may_have))
      return wrong;
  return what.what == condition::kind::test && what.operand.sigil == 0 ? check_key(what.operand.path, rows, may_have)
                                                                       : caf::error{};
}

caf::expected<json> evaluate(const value& what, const resolver& resolve) {
  switch (what.what) {
  case value::kind::number: {
    auto read = json::parse(what.written, nullptr, false);
    if (read.is_discarded())
      return problem(fmt::format("{} is too large for a number", what.written));
    return read;
  }
  case value::kind::quantity:
    return json(what.written);
  case value::kind::literal:
    return what.literal;
  case value::kind::reference:
    return resolve(what.source);
  case value::kind::text:
    break;
  }
  std::string text;
  for (auto& part : what.pieces) {
    if (!part.inserted) {
      text += part.text;
      continue;
    }
    auto inserted = resolve(*part.inserted);
    if (!inserted)
      return std::move(inserted.error());
    text += plain_text(*inserted);
  }
  return json(std::move(text));
}

std::string plain_text(const json& what) {
  return what.is_string() ? what.get<std::string>() : what.dump(-1, ' ', false, json::error_handler_t::replace);
}

const json* find(const json& in, const std::vector<std::string>& path) {
  auto* at = &in;
  for (auto& key : path) {
    if (at->is_object()) {
      auto found = at->find(key);
      if (found == at->end())
        return nullptr;
      at = &*found;
    } else if (at->is_array()) {
      std::size_t index = 0;
      auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), index);
      if (error != std::errc{} || end != key.data() + key.size() || index >= at->size())
        return nullptr;
      at = &(*at)[index];
    } else {
      return nullptr;
    }
  }
  return at;
}

caf::expected<json> rows_of(const json& what) {
  if (what.is_array())
    return what;
  if (what.is_object()) {
    auto is_list = [](auto& field) {
      return field.is_array() && std::all_of(field.begin(), field.end(), [](auto& row) { return row.is_object(); });
    };
    for (auto wanted_empty : {false, true})
      for (auto& [key, field] : what.items())
        if (is_list(field) && field.empty() == wanted_empty)
          return field;
    return json::array({what});
  }
  return problem(fmt::format("{} is no list; where, sort, top, limit, select and count work on lists",
                             what.is_null() ? "nothing" : "'" + plain_text(what).substr(0, 40) + "'"));
}

caf::expected<bool> holds(const condition& what, const json& row, const resolver& resolve) {
  switch (what.what) {
  case condition::kind::all_of:
  case condition::kind::any_of: {
    auto all = what.what == condition::kind::all_of;
    for (auto& part : what.parts) {
      auto one = holds(part, row, resolve);
      if (!one || *one != all)
        return one;
    }
    return all;
  }
  case condition::kind::negation: {
    auto inner = holds(what.parts.front(), row, resolve);
    if (!inner)
      return inner;
    return !*inner;
  }
  case condition::kind::test:
    break;
  }
  json left;
  auto opposite = what.how == comparison::not_equal || what.how == comparison::not_in;
  if (what.operand.sigil == 0) {
    auto* field = find(row, what.operand.path);
    if (field == nullptr)
      return opposite;
    left = *field;
  } else if (auto value = resolve(what.operand)) {
    left = std::move(*value);
  } else {
    return std::move(value.error());
  }
  auto key = what.operand.path.empty() ? std::string{} : what.operand.path.back();
  auto found = false;
  for (auto& one : what.values) {
    auto right = evaluate_for(key, one, resolve);
    if (!right)
      return std::move(right.error());
    found = found || compare(what.how, left, *right);
  }
  return found != opposite;
}

caf::expected<json> apply(const stage& what, const json& in, const resolver& resolve,
                          const std::vector<std::string>& known) {
  auto rows = rows_of(in);
  if (!rows)
    return rows;
  for (auto& field : what.fields)
    if (auto wrong = check_key(field.path, *rows, known))
      return wrong;
  switch (what.what) {
  case stage::kind::where: {
    if (auto wrong = check_keys(what.filter, *rows, known))
      return wrong;
    json result = json::array();
    for (auto& row : *rows) {
      auto fits = holds(what.filter, row, resolve);
      if (!fits)
        return std::move(fits.error());
      if (*fits)
        result.push_back(row);
    }
    return result;
  }
  case stage::kind::sort:
    return sorted(std::move(*rows), what.fields);
  case stage::kind::top: {
    auto fields = what.fields;
    for (auto& field : fields)
      field.falling = true;
    return first_of(fields.empty() ? *rows : sorted(std::move(*rows), fields), what.most);
  }
  case stage::kind::limit:
    return first_of(*rows, what.most);
  case stage::kind::select: {
    json result = json::array();
    for (auto& row : *rows) {
      json chosen = json::object();
      for (auto& field : what.fields) {
        auto* one = find(row, field.path);
        chosen[joined(field.path)] = one != nullptr ? *one : json();
      }
      result.push_back(std::move(chosen));
    }
    return result;
  }
  case stage::kind::count:
    return json(rows->size());
  }
  return rows;
}

} // namespace astra::shell
