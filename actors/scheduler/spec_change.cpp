#include "actors/scheduler/spec_change.hpp"

#include "config/units.hpp"

#include <fmt/format.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <chrono>
#include <cstdint>
#include <vector>

namespace astra {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

/// Longer values are not written out.
constexpr std::size_t value_max = 48;

/// More changes are counted.
constexpr std::size_t changes_max = 8;

bool ends_with(const std::string& text, std::string_view end) {
  return std::string_view{text}.ends_with(end);
}

/// The field's name in an app file.
std::string name_of(const FieldDescriptor& field) {
  auto& name = field.name();
  if (name == "cpu_milli")
    return "cores";
  for (std::string_view unit : {"_ms", "_bytes"})
    if (ends_with(name, unit))
      return name.substr(0, name.size() - unit.size());
  return name;
}

std::string number_text(const FieldDescriptor& field, std::uint64_t value) {
  auto& name = field.name();
  // More than a duration can say comes only from a broken sender.
  if (ends_with(name, "_ms") && value < (std::uint64_t{1} << 43))
    return format_duration(std::chrono::milliseconds{static_cast<std::int64_t>(value)});
  if (ends_with(name, "_bytes"))
    return format_size(value);
  if (name == "cpu_milli" && value <= UINT32_MAX)
    return format_cores(static_cast<std::uint32_t>(value));
  return std::to_string(value);
}

std::string value_text(const Message& of, const FieldDescriptor& field) {
  auto& look = *of.GetReflection();
  switch (field.cpp_type()) {
  case FieldDescriptor::CPPTYPE_BOOL:
    return look.GetBool(of, &field) ? "true" : "false";
  case FieldDescriptor::CPPTYPE_UINT32:
    return number_text(field, look.GetUInt32(of, &field));
  case FieldDescriptor::CPPTYPE_UINT64:
    return number_text(field, look.GetUInt64(of, &field));
  case FieldDescriptor::CPPTYPE_INT32:
    return std::to_string(look.GetInt32(of, &field));
  case FieldDescriptor::CPPTYPE_INT64:
    return std::to_string(look.GetInt64(of, &field));
  case FieldDescriptor::CPPTYPE_DOUBLE:
    return fmt::format("{}", look.GetDouble(of, &field));
  case FieldDescriptor::CPPTYPE_FLOAT:
    return fmt::format("{}", look.GetFloat(of, &field));
  case FieldDescriptor::CPPTYPE_ENUM:
    return look.GetEnum(of, &field)->name();
  case FieldDescriptor::CPPTYPE_STRING: {
    auto text = look.GetString(of, &field);
    return text.empty() ? "\"\"" : text;
  }
  case FieldDescriptor::CPPTYPE_MESSAGE:
    break;
  }
  return {};
}

std::string element_text(const Message& of, const FieldDescriptor& field, int at) {
  auto& look = *of.GetReflection();
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_STRING)
    return look.GetRepeatedString(of, &field, at);
  if (field.cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE)
    return {};
  auto& element = look.GetRepeatedMessage(of, &field, at);
  if (auto label = dynamic_cast<const pb::Label*>(&element))
    return label->key() + "=" + label->value();
  if (auto cards = dynamic_cast<const pb::AcceleratorCount*>(&element))
    return fmt::format("{} x {}", cards->count(), cards->kind());
  return {};
}

std::string list_text(const Message& of, const FieldDescriptor& field) {
  std::string text;
  auto separator = field.cpp_type() == FieldDescriptor::CPPTYPE_STRING ? " " : ", ";
  for (int i = 0; i < of.GetReflection()->FieldSize(of, &field); ++i)
    text += (i == 0 ? "" : separator) + element_text(of, field, i);
  return text.empty() ? "none" : text;
}

/// Equal in every byte, also in fields that this version does not know.
bool equal(const Message& a, const Message& b) {
  return a.SerializeAsString() == b.SerializeAsString();
}

bool lists_equal(const Message& a, const Message& b, const FieldDescriptor& field) {
  auto& look = *a.GetReflection();
  auto size = look.FieldSize(a, &field);
  if (size != look.FieldSize(b, &field))
    return false;
  for (int i = 0; i < size; ++i) {
    auto same = field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE
                    ? equal(look.GetRepeatedMessage(a, &field, i), look.GetRepeatedMessage(b, &field, i))
                    : element_text(a, field, i) == element_text(b, field, i);
    if (!same)
      return false;
  }
  return true;
}

void compare(const Message& before, const Message& after, const std::string& prefix, std::vector<std::string>& out) {
  auto& type = *before.GetDescriptor();
  auto& look = *before.GetReflection();
  for (int i = 0; i < type.field_count(); ++i) {
    auto& field = *type.field(i);
    if (field.name() == "deleting")
      continue;
    auto name = prefix + name_of(field);
    if (field.is_repeated()) {
      if (lists_equal(before, after, field))
        continue;
      auto old_text = list_text(before, field);
      auto new_text = list_text(after, field);
      auto hidden = field.name() == "env" || field.name() == "args" || old_text.size() > value_max
                    || new_text.size() > value_max || old_text == new_text;
      out.push_back(hidden ? name + " changed" : fmt::format("{} {} -> {}", name, old_text, new_text));
      continue;
    }
    if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      auto had = look.HasField(before, &field);
      auto has = look.HasField(after, &field);
      if (had && !has && !field.containing_oneof())
        out.push_back(name + " removed");
      else if (has && !had)
        out.push_back(field.containing_oneof() ? "now " + name : name + " set");
      else if (has && had)
        // What an app file has at its top stands here without a path.
        compare(look.GetMessage(before, &field), look.GetMessage(after, &field),
                field.containing_oneof() || field.name() == "per_replica" ? prefix : name + ".", out);
      continue;
    }
    auto old_text = value_text(before, field);
    auto new_text = value_text(after, field);
    if (old_text == new_text)
      continue;
    auto hidden = old_text.size() > value_max || new_text.size() > value_max;
    out.push_back(hidden ? name + " changed" : fmt::format("{} {} -> {}", name, old_text, new_text));
  }
}

std::string change_of(const pb::AppRevision& revision, const pb::AppRevision* before) {
  auto& spec = revision.spec();
  std::string text;
  if (spec.deleting())
    text = "deleted";
  else if (!before)
    text = revision.number() == 1 ? "created with " + size_text(spec) : "what was before is not kept any more";
  else
    text = describe_change(before->spec(), spec);
  if (!spec.deleting() && before && before->spec().deleting())
    text = text == "unchanged" ? "created again" : "created again: " + text;
  return revision.note().empty() ? text : revision.note() + ": " + text;
}

} // namespace

std::string size_text(const pb::AppSpec& spec) {
  auto federated = spec.has_federation();
  auto count = federated ? spec.federation().clusters() : spec.replicas();
  return fmt::format("{} {}{}", count, federated ? "cluster" : "replica", count == 1 ? "" : "s");
}

std::string describe_change(const pb::AppSpec& before, const pb::AppSpec& after) {
  std::vector<std::string> changes;
  compare(before, after, "", changes);
  if (changes.empty())
    return "unchanged";
  std::string text;
  for (std::size_t i = 0; i < changes.size() && i < changes_max; ++i)
    text += (i == 0 ? "" : "; ") + changes[i];
  if (changes.size() > changes_max)
    text += fmt::format("; {} more", changes.size() - changes_max);
  return text;
}

void describe_changes(pb::AppHistory& history) {
  const pb::AppRevision* before = nullptr;
  for (auto& revision : *history.mutable_revisions()) {
    if (before && before->number() + 1 < revision.number())
      before = nullptr;
    revision.set_change(change_of(revision, before));
    before = &revision;
  }
}

} // namespace astra
