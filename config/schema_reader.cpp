#include "config/schema_reader.hpp"

#include "config/naming.hpp"
#include "config/schema.pb.h"
#include "config/spelling.hpp"
#include "config/units.hpp"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>
#include <google/protobuf/reflection.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <filesystem>
#include <limits>
#include <optional>
#include <system_error>
#include <utility>

#include <fmt/format.h>

namespace astra {

namespace proto = google::protobuf;

namespace {

using kind = toml_value::kind;
using cpp_type = proto::FieldDescriptor::CppType;

schema::Notation notation_of(const proto::FieldDescriptor& field) {
  return field.options().GetExtension(schema::notation);
}

bool is_flat(const proto::FieldDescriptor& field) {
  return field.options().GetExtension(schema::flat);
}

bool is_key(const proto::FieldDescriptor& field) {
  return !field.options().GetExtension(schema::internal);
}

std::string join(const std::string& prefix, const std::string& part) {
  return prefix.empty() ? part : prefix + "." + part;
}

std::vector<std::string> choices_of(const proto::FieldDescriptor& field) {
  std::vector<std::string> result;
  for (int i = 0; i < field.options().ExtensionSize(schema::choice); ++i)
    result.push_back(field.options().GetExtension(schema::choice, i));
  return result;
}

/// What one value of the field must be, with an example.
std::string expected(const proto::FieldDescriptor& field) {
  switch (notation_of(field)) {
  case schema::DURATION:
    return "a duration in quotes, such as \"200ms\"";
  case schema::SIZE:
    return "a size in quotes, such as \"8GiB\"";
  case schema::CORES:
    return "a number of cores, such as 4 or 0.5";
  case schema::FINE_DURATION:
    return "a duration in quotes, such as \"200us\"";
  default:
    break;
  }
  switch (field.cpp_type()) {
  case cpp_type::CPPTYPE_BOOL:
    return "true or false";
  case cpp_type::CPPTYPE_DOUBLE:
    return "a number, such as 0.5";
  case cpp_type::CPPTYPE_STRING:
    return "text in quotes";
  case cpp_type::CPPTYPE_MESSAGE:
    return "a table";
  default:
    return "a whole number";
  }
}

std::string with_auto(const proto::FieldDescriptor& field, std::string what) {
  return field.options().GetExtension(schema::auto_field).empty() ? what : what + ", or \"auto\"";
}

std::string found(const toml_value& value) {
  switch (value.type) {
  case kind::text:
    return "the text " + quote(value.text);
  case kind::integer:
    return "the number " + std::to_string(value.integer);
  case kind::real:
    return fmt::format("the number {}", value.real);
  case kind::boolean:
    return value.boolean ? "true" : "false";
  case kind::time:
    return "a date or time";
  case kind::list:
    return "a list";
  case kind::table:
    return "a table";
  }
  return "a value";
}

/// Reads one table of the file into one message; nested tables recurse.
class reader {
public:
  reader(const proto::Descriptor& file, const environment_lookup& environment,
         const std::map<std::string, std::string>& advice, schema_findings& findings)
    : file_(file), environment_(environment), advice_(advice), findings_(findings) {
    // nop
  }

  void read_table(proto::Message& message, const toml_value& table, const std::string& prefix) {
    for (auto& entry : table.entries) {
      auto key = join(prefix, key_part(entry.key));
      if (auto cure = advice_.find(key); cure != advice_.end())
        problem(entry.at, key, cure->second);
      else if (auto field = find_field(*message.GetDescriptor(), entry.key))
        read_field(owner_of(message, *field), *field, entry.value, key);
      else
        unknown_key(message, entry, prefix, key);
    }
  }

private:
  static const proto::FieldDescriptor* find_field(const proto::Descriptor& type, const std::string& key) {
    for (int i = 0; i < type.field_count(); ++i) {
      auto field = type.field(i);
      if (is_flat(*field)) {
        if (auto inner = find_field(*field->message_type(), key))
          return inner;
      } else if (is_key(*field) && key_of(*field) == key) {
        return field;
      }
    }
    return nullptr;
  }

  /// The message that has the field: this one, or one whose keys stand in the same table.
  static proto::Message& owner_of(proto::Message& message, const proto::FieldDescriptor& field) {
    if (field.containing_type() == message.GetDescriptor())
      return message;
    auto& type = *message.GetDescriptor();
    for (int i = 0; i < type.field_count(); ++i)
      if (is_flat(*type.field(i)) && field.containing_type() == type.field(i)->message_type())
        return *message.GetReflection()->MutableMessage(&message, type.field(i));
    return message;
  }

  /// Names of all keys of a table of this type.
  static void collect_keys(const proto::Descriptor& type, std::vector<std::string>& keys) {
    for (int i = 0; i < type.field_count(); ++i) {
      if (is_flat(*type.field(i)))
        collect_keys(*type.field(i)->message_type(), keys);
      else if (is_key(*type.field(i)))
        keys.push_back(key_of(*type.field(i)));
    }
  }

  void problem(const toml_place& at, const std::string& key, std::string message) {
    findings_.problems.push_back({at.file, at.line, at.column, key, std::move(message)});
    findings_.failed.insert(key);
  }

  void unknown_key(const proto::Message& message, const toml_entry& entry, const std::string& prefix,
                   const std::string& key) {
    std::vector<std::string> known;
    collect_keys(*message.GetDescriptor(), known);
    auto elsewhere = places_of(entry.key);
    auto meant = closest(entry.key, known);
    if (!elsewhere.empty())
      return problem(entry.at, key, "unknown key here; it belongs " + elsewhere);
    if (meant) {
      findings_.failed.insert(join(prefix, *meant));
      return problem(entry.at, key, "unknown key; did you mean '" + *meant + "'?");
    }
    std::string list;
    for (auto& name : known)
      list += (list.empty() ? "" : ", ") + name;
    problem(entry.at, key, "unknown key; there are: " + list);
  }

  /// "in [net] or [node]", "at the top of the file": where the file has the key; empty: nowhere.
  std::string places_of(const std::string& key) const {
    if (find_field(file_, key))
      return "at the top of the file, before the first [table]";
    std::string result;
    for (int i = 0; i < file_.field_count(); ++i) {
      auto field = file_.field(i);
      if (field->is_map() || !field->message_type() || !find_field(*field->message_type(), key))
        continue;
      auto table = "[" + key_of(*field) + "]";
      result += (result.empty() ? "in " : " or ") + (field->is_repeated() ? "[" + table + "]" : table);
    }
    return result;
  }

  void read_field(proto::Message& message, const proto::FieldDescriptor& field, const toml_value& value,
                  const std::string& key) {
    auto& auto_name = field.options().GetExtension(schema::auto_field);
    if (!auto_name.empty()) {
      auto flag = message.GetDescriptor()->FindFieldByName(auto_name);
      auto is_auto = value.type == kind::text && expand(value.text, environment_).text == "auto";
      message.GetReflection()->SetBool(&message, flag, is_auto);
      if (is_auto) {
        remember(key, value, expand(value.text, environment_).variables);
        return;
      }
    }
    if (field.is_map())
      read_map(message, field, value, key);
    else if (field.is_repeated())
      read_list(message, field, value, key);
    else if (field.cpp_type() == cpp_type::CPPTYPE_MESSAGE)
      read_nested(message, field, value, key);
    else
      read_scalar(message, field, value, key);
  }

  void read_nested(proto::Message& message, const proto::FieldDescriptor& field, const toml_value& value,
                   const std::string& key) {
    auto nested = message.GetReflection()->MutableMessage(&message, &field);
    auto& shorthand = field.options().GetExtension(schema::shorthand);
    if (!shorthand.empty() && value.type != kind::table && value.type != kind::list)
      return read_scalar(*nested, *nested->GetDescriptor()->FindFieldByName(shorthand), value, key);
    if (value.type != kind::table)
      return problem(value.at, key, "must be a table, [" + key + "], not " + found(value));
    remember(key, value, {});
    read_table(*nested, value, key);
  }

  void read_list(proto::Message& message, const proto::FieldDescriptor& field, const toml_value& value,
                 const std::string& key) {
    if (value.type != kind::list) {
      auto item = field.message_type() ? "tables" : "texts in quotes";
      return problem(value.at, key,
                     with_auto(field, "must be a list in brackets of " + std::string{item}) + ", not " + found(value));
    }
    remember(key, value, {});
    for (std::size_t i = 0; i < value.items.size(); ++i) {
      auto& item = value.items[i];
      auto item_key = key + "[" + std::to_string(i) + "]";
      if (field.cpp_type() == cpp_type::CPPTYPE_MESSAGE) {
        auto nested = message.GetReflection()->AddMessage(&message, &field);
        if (item.type != kind::table) {
          problem(item.at, item_key, "must be a table, not " + found(item));
          continue;
        }
        remember(item_key, item, {});
        read_table(*nested, item, item_key);
      } else if (auto text = read_text(field, item, item_key)) {
        auto earlier = message.GetReflection()->GetRepeatedFieldRef<std::string>(message, &field);
        for (auto& other : earlier)
          if (field.options().GetExtension(schema::distinct) && other == *text)
            problem(item.at, item_key, quote(*text) + " is listed twice; keep one");
        message.GetReflection()->AddString(&message, &field, *text);
      }
    }
  }

  void read_map(proto::Message& message, const proto::FieldDescriptor& field, const toml_value& value,
                const std::string& key) {
    if (value.type != kind::table)
      return problem(value.at, key, "must be a table, not " + found(value));
    remember(key, value, {});
    auto entry_type = field.message_type();
    for (auto& entry : value.entries) {
      auto entry_key = join(key, key_part(entry.key));
      auto pair = message.GetReflection()->AddMessage(&message, &field);
      pair->GetReflection()->SetString(pair, entry_type->map_key(), entry.key);
      auto plain = entry.value;
      if (field.options().GetExtension(schema::any_scalar))
        to_text(plain);
      read_scalar(*pair, *entry_type->map_value(), plain, entry_key);
    }
  }

  /// Numbers and booleans become the text they are written as.
  static void to_text(toml_value& value) {
    switch (value.type) {
    case kind::integer:
      value.text = std::to_string(value.integer);
      break;
    case kind::real:
      value.text = fmt::format("{}", value.real);
      break;
    case kind::boolean:
      value.text = value.boolean ? "true" : "false";
      break;
    default:
      return;
    }
    value.type = kind::text;
  }

  /// The text of a value with its variables put in, if it is a text that may stand in the field.
  std::optional<std::string> read_text(const proto::FieldDescriptor& field, const toml_value& value,
                                       const std::string& key) {
    if (value.type != kind::text) {
      problem(value.at, key, "must be " + expected(field) + ", not " + found(value));
      return std::nullopt;
    }
    auto expanded = expand(value.text, environment_);
    if (!expanded.problem.empty()) {
      problem(value.at, key, expanded.problem);
      return std::nullopt;
    }
    auto choices = choices_of(field);
    bool known = choices.empty();
    for (auto& choice : choices)
      known = known || choice == expanded.text;
    if (!known) {
      auto meant = closest(expanded.text, choices);
      std::string list;
      for (auto& choice : choices)
        list += (list.empty() ? "" : ", ") + choice;
      problem(value.at, key,
              "unknown value " + quote(value.text)
                  + (meant ? "; did you mean '" + *meant + "'?" : "; use one of " + list));
      return std::nullopt;
    }
    if (expanded.text.find('\0') != std::string::npos) {
      problem(value.at, key, "a text cannot hold the character \\u0000; remove it");
      return std::nullopt;
    }
    remember(key, value, expanded.variables);
    auto notation = notation_of(field);
    auto is_path = notation == schema::PATH || (notation == schema::LIBRARY && names_library_file(expanded.text));
    if (is_path && !expanded.text.empty() && !value.at.file.empty()) {
      auto folder = std::filesystem::path{value.at.file}.parent_path();
      // Nodes look for a library elsewhere than where the file is read.
      if (notation == schema::LIBRARY) {
        std::error_code error;
        auto whole = std::filesystem::absolute(folder.empty() ? "." : folder, error);
        if (error) {
          problem(value.at, key,
                  "the folder that the path begins in is gone (" + error.message()
                      + "); write a path that begins with '/'");
          return std::nullopt;
        }
        folder = std::move(whole);
      }
      return (folder / expanded.text).lexically_normal().string();
    }
    return expanded.text;
  }

  void read_scalar(proto::Message& message, const proto::FieldDescriptor& field, const toml_value& value,
                   const std::string& key) {
    auto& reflection = *message.GetReflection();
    if (field.cpp_type() == cpp_type::CPPTYPE_STRING) {
      if (auto text = read_text(field, value, key))
        reflection.SetString(&message, &field, *text);
      return;
    }
    // A number or a boolean that comes from a variable stands in quotes: "${CORES}".
    auto plain = value;
    std::vector<std::string> variables;
    std::string shown = found(value);
    if (value.type == kind::text) {
      auto expanded = expand(value.text, environment_);
      if (!expanded.problem.empty())
        return problem(value.at, key, expanded.problem);
      variables = expanded.variables;
      plain.text = expanded.text;
      if (value.text.find("${") != std::string::npos)
        from_text(plain);
    }
    auto before = findings_.problems.size();
    switch (notation_of(field)) {
    case schema::DURATION:
      read_duration(message, field, plain, key, shown);
      break;
    case schema::FINE_DURATION:
      read_fine_duration(message, field, plain, key, shown);
      break;
    case schema::SIZE:
      read_size(message, field, plain, key, shown);
      break;
    case schema::CORES:
      read_cores(message, field, plain, key, shown);
      break;
    default:
      read_plain(message, field, plain, key, shown);
    }
    if (findings_.problems.size() == before)
      remember(key, value, variables);
  }

  /// Turns the text of a variable into the number or boolean that it spells.
  static void from_text(toml_value& value) {
    auto& text = value.text;
    auto end = text.data() + text.size();
    std::int64_t integer = 0;
    double real = 0;
    if (auto r = std::from_chars(text.data(), end, integer); r.ec == std::errc{} && r.ptr == end) {
      value.type = kind::integer;
      value.integer = integer;
    } else if (auto d = std::from_chars(text.data(), end, real); d.ec == std::errc{} && d.ptr == end) {
      value.type = kind::real;
      value.real = real;
    } else if (text == "true" || text == "false") {
      value.type = kind::boolean;
      value.boolean = text == "true";
    }
  }

  void wrong_type(const proto::FieldDescriptor& field, const toml_value& value, const std::string& key,
                  const std::string& shown) {
    problem(value.at, key, "must be " + with_auto(field, expected(field)) + ", not " + shown);
  }

  /// A text that came out of a variable is not shown: it may be a secret in the wrong place.
  void bad_quantity(const proto::FieldDescriptor& field, const toml_value& value, const std::string& key,
                    const std::string& shown, const std::string& why) {
    if (shown == found(value))
      problem(value.at, key, why);
    else
      wrong_type(field, value, key, shown);
  }

  void read_duration(proto::Message& message, const proto::FieldDescriptor& field, const toml_value& value,
                     const std::string& key, const std::string& shown) {
    if (value.type != kind::text)
      return wrong_type(field, value, key, shown);
    auto duration = parse_duration(value.text);
    if (!duration.value)
      return bad_quantity(field, value, key, shown, duration.problem);
    set_integer(message, field, value, key, duration.value->count());
  }

  void read_fine_duration(proto::Message& message, const proto::FieldDescriptor& field, const toml_value& value,
                          const std::string& key, const std::string& shown) {
    if (value.type != kind::text)
      return wrong_type(field, value, key, shown);
    auto duration = parse_fine_duration(value.text);
    if (!duration.value)
      return bad_quantity(field, value, key, shown, duration.problem);
    message.GetReflection()->SetInt64(&message, &field, duration.value->count());
  }

  void read_size(proto::Message& message, const proto::FieldDescriptor& field, const toml_value& value,
                 const std::string& key, const std::string& shown) {
    if (value.type != kind::text)
      return wrong_type(field, value, key, shown);
    auto size = parse_size(value.text);
    if (!size.value)
      return bad_quantity(field, value, key, shown, size.problem);
    message.GetReflection()->SetUInt64(&message, &field, *size.value);
  }

  void read_cores(proto::Message& message, const proto::FieldDescriptor& field, const toml_value& value,
                  const std::string& key, const std::string& shown) {
    if (value.type != kind::integer && value.type != kind::real)
      return wrong_type(field, value, key, shown);
    auto cores = parse_cores(value.type == kind::integer ? static_cast<double>(value.integer) : value.real);
    if (!cores.value)
      return problem(value.at, key, cores.problem + ", not " + shown);
    message.GetReflection()->SetUInt32(&message, &field, *cores.value);
  }

  void read_plain(proto::Message& message, const proto::FieldDescriptor& field, const toml_value& value,
                  const std::string& key, const std::string& shown) {
    switch (field.cpp_type()) {
    case cpp_type::CPPTYPE_BOOL:
      if (value.type != kind::boolean)
        return wrong_type(field, value, key, shown);
      return message.GetReflection()->SetBool(&message, &field, value.boolean);
    case cpp_type::CPPTYPE_DOUBLE:
      if (value.type != kind::integer && value.type != kind::real)
        return wrong_type(field, value, key, shown);
      if (value.type == kind::real && !std::isfinite(value.real))
        return problem(value.at, key, "must be a finite number, not " + shown);
      return message.GetReflection()->SetDouble(
          &message, &field, value.type == kind::integer ? static_cast<double>(value.integer) : value.real);
    default:
      if (value.type != kind::integer)
        return wrong_type(field, value, key, shown);
      set_integer(message, field, value, key, value.integer);
    }
  }

  void set_integer(proto::Message& message, const proto::FieldDescriptor& field, const toml_value& value,
                   const std::string& key, std::int64_t number) {
    auto& reflection = *message.GetReflection();
    auto least = static_cast<std::int64_t>(field.options().GetExtension(schema::at_least));
    auto most = std::numeric_limits<std::int64_t>::max();
    switch (field.cpp_type()) {
    case cpp_type::CPPTYPE_UINT32:
      most = std::numeric_limits<std::uint32_t>::max();
      break;
    case cpp_type::CPPTYPE_INT32:
      most = std::numeric_limits<std::int32_t>::max();
      break;
    default:
      break;
    }
    if (number < least || number > most) {
      auto show = [&](std::int64_t n) {
        return notation_of(field) == schema::DURATION ? quote(format_duration(std::chrono::milliseconds{n}))
                                                      : std::to_string(n);
      };
      auto rule = number < least ? "at least " + show(least) : "at most " + show(most);
      return problem(value.at, key, "must be " + rule + ", not " + show(number));
    }
    switch (field.cpp_type()) {
    case cpp_type::CPPTYPE_UINT32:
      return reflection.SetUInt32(&message, &field, static_cast<std::uint32_t>(number));
    case cpp_type::CPPTYPE_INT32:
      return reflection.SetInt32(&message, &field, static_cast<std::int32_t>(number));
    case cpp_type::CPPTYPE_UINT64:
      return reflection.SetUInt64(&message, &field, static_cast<std::uint64_t>(number));
    default:
      return reflection.SetInt64(&message, &field, number);
    }
  }

  void remember(const std::string& key, const toml_value& value, std::vector<std::string> variables) {
    findings_.origins[key] = {value.at, std::move(variables)};
  }

  /// The type of the whole file.
  const proto::Descriptor& file_;
  const environment_lookup& environment_;
  const std::map<std::string, std::string>& advice_;
  schema_findings& findings_;
};

std::string render_scalar(const proto::Message& message, const proto::FieldDescriptor& field) {
  auto& reflection = *message.GetReflection();
  switch (field.cpp_type()) {
  case cpp_type::CPPTYPE_BOOL:
    return reflection.GetBool(message, &field) ? "true" : "false";
  case cpp_type::CPPTYPE_DOUBLE:
    return fmt::format("{}", reflection.GetDouble(message, &field));
  case cpp_type::CPPTYPE_STRING:
    return quote(reflection.GetString(message, &field));
  case cpp_type::CPPTYPE_INT32:
    return std::to_string(reflection.GetInt32(message, &field));
  case cpp_type::CPPTYPE_UINT32: {
    auto value = reflection.GetUInt32(message, &field);
    return notation_of(field) == schema::CORES ? format_cores(value) : std::to_string(value);
  }
  case cpp_type::CPPTYPE_INT64: {
    auto value = reflection.GetInt64(message, &field);
    if (notation_of(field) == schema::FINE_DURATION)
      return quote(format_fine_duration(std::chrono::nanoseconds{value}));
    return notation_of(field) == schema::DURATION ? quote(format_duration(std::chrono::milliseconds{value}))
                                                  : std::to_string(value);
  }
  case cpp_type::CPPTYPE_UINT64: {
    auto value = reflection.GetUInt64(message, &field);
    return notation_of(field) == schema::SIZE ? quote(format_size(value)) : std::to_string(value);
  }
  default:
    return {};
  }
}

/// { kind = "t4", count = 2 }: the fields that are set.
std::string render_inline(const proto::Message& message) {
  std::string result;
  for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
    auto& field = *message.GetDescriptor()->field(i);
    auto present = field.is_repeated() ? message.GetReflection()->FieldSize(message, &field) > 0
                                       : message.GetReflection()->HasField(message, &field);
    if (present)
      result += (result.empty() ? "{ " : ", ") + key_of(field) + " = "
                + (field.is_repeated() ? render(message, field) : render_scalar(message, field));
  }
  return result.empty() ? "{}" : result + " }";
}

/// Walks a message in schema order and collects its leaves.
class renderer {
public:
  renderer(const std::map<std::string, value_origin>& origins, std::vector<effective_value>& values)
    : origins_(origins), values_(values) {
    // nop
  }

  void walk(const proto::Message& message, const std::string& prefix) {
    auto& reflection = *message.GetReflection();
    for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
      auto& field = *message.GetDescriptor()->field(i);
      auto key = join(prefix, key_of(field));
      if (!is_key(field))
        continue;
      if (field.is_map() && reflection.FieldSize(message, &field) > 0)
        walk_map(message, field, key);
      else if (field.is_repeated())
        add(key, render(message, field));
      else if (field.cpp_type() == cpp_type::CPPTYPE_MESSAGE)
        walk_present(message, field, key);
      else if (reflection.HasField(message, &field) || is_auto(message, field))
        add(key, render(message, field));
    }
  }

private:
  static bool is_auto(const proto::Message& message, const proto::FieldDescriptor& field) {
    auto& name = field.options().GetExtension(schema::auto_field);
    return !name.empty() && message.GetReflection()->GetBool(message, message.GetDescriptor()->FindFieldByName(name));
  }

  void walk_present(const proto::Message& message, const proto::FieldDescriptor& field, const std::string& key) {
    if (message.GetReflection()->HasField(message, &field))
      walk(message.GetReflection()->GetMessage(message, &field), key);
  }

  void walk_map(const proto::Message& message, const proto::FieldDescriptor& field, const std::string& key) {
    std::map<std::string, std::string> sorted;
    for (int i = 0; i < message.GetReflection()->FieldSize(message, &field); ++i) {
      auto& pair = message.GetReflection()->GetRepeatedMessage(message, &field, i);
      auto name = pair.GetReflection()->GetString(pair, field.message_type()->map_key());
      sorted[name] = render_scalar(pair, *field.message_type()->map_value());
    }
    for (auto& [name, value] : sorted)
      add(join(key, key_part(name)), value);
  }

  void add(const std::string& key, std::string value) {
    auto found = origins_.find(key);
    std::string origin = "default";
    if (found != origins_.end()) {
      origin = found->second.at.file + ":" + std::to_string(found->second.at.line);
      std::string variables;
      for (auto& name : found->second.variables)
        variables += (variables.empty() ? "$" : ", $") + name;
      if (!variables.empty())
        origin += " (" + variables + ")";
    }
    values_.push_back({key, std::move(value), std::move(origin)});
  }

  const std::map<std::string, value_origin>& origins_;
  std::vector<effective_value>& values_;
};

/// The place to show for a rule: its key, else a key it speaks of, else the table that the key belongs in.
toml_place place_of(const broken_rule& rule, const std::map<std::string, value_origin>& origins,
                    const std::string& file) {
  if (auto i = origins.find(rule.key); i != origins.end())
    return i->second.at;
  for (auto& key : rule.related)
    if (auto i = origins.find(key); i != origins.end())
      return i->second.at;
  for (auto key = rule.key; key.find_last_of(".[") != std::string::npos;) {
    key.resize(key.find_last_of(".["));
    if (auto i = origins.find(key); i != origins.end())
      return i->second.at;
  }
  return {file, 1, 1};
}

/// Text as expand() leaves it alone.
std::string escape(const std::string& text) {
  std::string result;
  for (auto c : text)
    result += c == '$' ? std::string{"$$"} : std::string{c};
  return result;
}

/// Writes a message as a table of a file: its own keys first, then the tables in it.
class writer {
public:
  std::string take() { return std::move(text_); }

  void table(const proto::Message& message, const std::string& path) {
    leaves(message);
    sections(message, path);
  }

private:
  /// The one field that stands for the whole table, if no other is set.
  static const proto::FieldDescriptor* shorthand_of(const proto::Message& message,
                                                    const proto::FieldDescriptor& field) {
    auto& name = field.options().GetExtension(schema::shorthand);
    if (name.empty() || !message.GetReflection()->HasField(message, &field))
      return nullptr;
    auto& nested = message.GetReflection()->GetMessage(message, &field);
    std::vector<const proto::FieldDescriptor*> set;
    nested.GetReflection()->ListFields(nested, &set);
    return set.size() == 1 && set.front()->name() == name ? set.front() : nullptr;
  }

  static std::string scalar(const proto::Message& message, const proto::FieldDescriptor& field) {
    if (field.cpp_type() == cpp_type::CPPTYPE_STRING)
      return quote(escape(message.GetReflection()->GetString(message, &field)));
    return render_scalar(message, field);
  }

  void line(const proto::FieldDescriptor& field, const std::string& value) {
    text_ += key_part(key_of(field)) + " = " + value + "\n";
  }

  void leaves(const proto::Message& message) {
    auto& reflection = *message.GetReflection();
    for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
      auto& field = *message.GetDescriptor()->field(i);
      if (is_flat(field)) {
        leaves(reflection.GetMessage(message, &field));
      } else if (field.is_map()) {
        map(message, field);
      } else if (field.is_repeated()) {
        list(message, field);
      } else if (auto inner = shorthand_of(message, field)) {
        line(field, scalar(reflection.GetMessage(message, &field), *inner));
      } else if (field.cpp_type() != cpp_type::CPPTYPE_MESSAGE && is_key(field)
                 && reflection.HasField(message, &field)) {
        line(field, scalar(message, field));
      }
    }
  }

  void map(const proto::Message& message, const proto::FieldDescriptor& field) {
    std::map<std::string, std::string> sorted;
    for (int i = 0; i < message.GetReflection()->FieldSize(message, &field); ++i) {
      auto& pair = message.GetReflection()->GetRepeatedMessage(message, &field, i);
      auto name = pair.GetReflection()->GetString(pair, field.message_type()->map_key());
      sorted[name] = scalar(pair, *field.message_type()->map_value());
    }
    std::string items;
    for (auto& [name, value] : sorted)
      items += (items.empty() ? "" : ", ") + key_part(name) + " = " + value;
    if (!items.empty())
      line(field, "{ " + items + " }");
  }

  void list(const proto::Message& message, const proto::FieldDescriptor& field) {
    if (field.cpp_type() == cpp_type::CPPTYPE_MESSAGE)
      return;
    std::string items;
    for (auto& item : message.GetReflection()->GetRepeatedFieldRef<std::string>(message, &field))
      items += (items.empty() ? "" : ", ") + quote(escape(item));
    if (!items.empty())
      line(field, "[" + items + "]");
  }

  void sections(const proto::Message& message, const std::string& path) {
    auto& reflection = *message.GetReflection();
    for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
      auto& field = *message.GetDescriptor()->field(i);
      auto name = join(path, key_part(key_of(field)));
      if (field.cpp_type() != cpp_type::CPPTYPE_MESSAGE || field.is_map()) {
        continue;
      } else if (is_flat(field)) {
        sections(reflection.GetMessage(message, &field), path);
      } else if (field.is_repeated()) {
        for (int n = 0; n < reflection.FieldSize(message, &field); ++n) {
          text_ += "\n[[" + name + "]]\n";
          table(reflection.GetRepeatedMessage(message, &field, n), name);
        }
      } else if (auto& nested = reflection.GetMessage(message, &field);
                 nested.ByteSizeLong() > 0 && !shorthand_of(message, field)) {
        text_ += "\n[" + name + "]\n";
        table(nested, name);
      }
    }
  }

  std::string text_;
};

} // namespace

std::string key_of(const proto::FieldDescriptor& field) {
  return field.has_json_name() ? field.json_name() : field.name();
}

schema_findings read_schema(proto::Message& message, const toml_value& root, const environment_lookup& environment,
                            const std::map<std::string, std::string>& advice) {
  schema_findings result;
  reader{*message.GetDescriptor(), environment, advice, result}.read_table(message, root, {});
  return result;
}

std::string render(const proto::Message& message, const proto::FieldDescriptor& field) {
  auto& reflection = *message.GetReflection();
  auto& auto_name = field.options().GetExtension(schema::auto_field);
  if (!auto_name.empty() && reflection.GetBool(message, message.GetDescriptor()->FindFieldByName(auto_name)))
    return quote("auto");
  if (field.is_map())
    return "{}";
  if (!field.is_repeated())
    return render_scalar(message, field);
  std::string result;
  for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
    auto item = field.cpp_type() == cpp_type::CPPTYPE_MESSAGE
                    ? render_inline(reflection.GetRepeatedMessage(message, &field, i))
                    : quote(reflection.GetRepeatedString(message, &field, i));
    result += (result.empty() ? "" : ", ") + item;
  }
  return "[" + result + "]";
}

std::vector<effective_value> render_all(const proto::Message& message,
                                        const std::map<std::string, value_origin>& origins) {
  std::vector<effective_value> result;
  renderer{origins, result}.walk(message, {});
  return result;
}

std::vector<config_problem> to_problems(const std::vector<broken_rule>& rules, const schema_findings& findings,
                                        const std::string& file) {
  std::vector<config_problem> result;
  auto failed = [&](const std::string& key) {
    return std::any_of(findings.failed.begin(), findings.failed.end(), [&](auto& other) {
      return key == other || (key.starts_with(other) && key[other.size()] == '.')
             || (other.starts_with(key) && (other[key.size()] == '[' || other[key.size()] == '.'));
    });
  };
  for (auto& rule : rules) {
    if (failed(rule.key) || std::any_of(rule.related.begin(), rule.related.end(), failed))
      continue;
    auto at = place_of(rule, findings.origins, file);
    result.push_back({at.file, at.line, at.column, rule.key, rule.message});
  }
  return result;
}

std::string write_schema(const proto::Message& message) {
  writer result;
  result.table(message, {});
  return result.take();
}

void remove_equal(proto::Message& message, const proto::Message& other) {
  auto& reflection = *message.GetReflection();
  for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
    auto& field = *message.GetDescriptor()->field(i);
    if (field.is_repeated() || !reflection.HasField(message, &field) || !reflection.HasField(other, &field))
      continue;
    bool equal = false;
    if (field.cpp_type() == cpp_type::CPPTYPE_MESSAGE) {
      auto& nested = *reflection.MutableMessage(&message, &field);
      remove_equal(nested, reflection.GetMessage(other, &field));
      equal = nested.ByteSizeLong() == 0;
    } else {
      equal = render_scalar(message, field) == render_scalar(other, field);
    }
    if (equal)
      reflection.ClearField(&message, &field);
  }
}

} // namespace astra
