#include "runtime/metrics/metrics_text.hpp"

#include "messages/text.hpp"

#include <caf/telemetry/counter.hpp>
#include <caf/telemetry/gauge.hpp>
#include <caf/telemetry/histogram.hpp>
#include <caf/telemetry/label.hpp>
#include <caf/telemetry/metric.hpp>
#include <caf/telemetry/metric_family.hpp>
#include <caf/telemetry/metric_registry.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>

// https://prometheus.io/docs/instrumenting/exposition_formats/

namespace astra {
namespace {

bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

std::string with_valid_characters(std::string_view text, bool colon) {
  std::string result;
  for (auto c : text)
    result += is_letter(c) || is_digit(c) || (colon && c == ':') ? c : '_';
  if (result.empty() || is_digit(result.front()))
    result.insert(0, "_");
  return result;
}

/// What may not stand as it is in a HELP line.
std::string escaped_help(std::string_view text) {
  std::string result;
  for (auto c : to_utf8(std::string{text}))
    result += c == '\\' ? "\\\\" : c == '\n' ? "\\n" : std::string(1, c);
  return result;
}

std::string escaped_label(std::string_view text) {
  std::string result;
  for (auto c : to_utf8(std::string{text}))
    result += c == '\\' ? "\\\\" : c == '"' ? "\\\"" : c == '\n' ? "\\n" : std::string(1, c);
  return result;
}

/// {a="1",b="2"}; nothing when there are none.  Of labels whose names become the same, the first stays.
std::string render(metric_labels labels, std::string_view own = {}) {
  for (auto& [name, value] : labels)
    name = name == own ? "exported_" + name : label_name(name);
  std::stable_sort(labels.begin(), labels.end(), [](auto& a, auto& b) { return a.first < b.first; });
  labels.erase(std::unique(labels.begin(), labels.end(), [](auto& a, auto& b) { return a.first == b.first; }),
               labels.end());
  std::string result;
  for (auto& [name, value] : labels)
    result += fmt::format("{}{}=\"{}\"", result.empty() ? "" : ",", name, escaped_label(value));
  return result;
}

std::string braced(const std::string& labels) {
  return labels.empty() ? labels : "{" + labels + "}";
}

std::string render(metric_value value) {
  if (auto whole = std::get_if<std::int64_t>(&value))
    return std::to_string(*whole);
  auto number = std::get<double>(value);
  if (std::isnan(number))
    return "NaN";
  if (std::isinf(number))
    return number > 0 ? "+Inf" : "-Inf";
  return fmt::format("{}", number);
}

bool is_largest(metric_value value) {
  if (auto whole = std::get_if<std::int64_t>(&value))
    return *whole == std::numeric_limits<std::int64_t>::max();
  return std::isinf(std::get<double>(value)) && std::get<double>(value) > 0;
}

std::string_view to_string(metric_kind kind) {
  switch (kind) {
  case metric_kind::counter:
    return "counter";
  case metric_kind::histogram:
    return "histogram";
  default:
    return "gauge";
  }
}

/// Takes the metrics of a registry over, each with its family's text.
class collector {
public:
  explicit collector(metrics_text& out) : out_(out) {}

  template <class Value>
  void operator()(const caf::telemetry::metric_family* family, const caf::telemetry::metric* one,
                  const caf::telemetry::counter<Value>* value) {
    describe(*family, metric_kind::counter);
    out_.add(labels_of(*one), value->value());
  }

  void operator()(const caf::telemetry::metric_family* family, const caf::telemetry::metric* one,
                  const caf::telemetry::int_gauge* value) {
    describe(*family, metric_kind::gauge);
    out_.add(labels_of(*one), value->value());
  }

  void operator()(const caf::telemetry::metric_family* family, const caf::telemetry::metric* one,
                  const caf::telemetry::dbl_gauge* value) {
    describe(*family, metric_kind::gauge);
    out_.add(labels_of(*one), value->value());
  }

  template <class Value>
  void operator()(const caf::telemetry::metric_family* family, const caf::telemetry::metric* one,
                  const caf::telemetry::histogram<Value>* value) {
    describe(*family, metric_kind::histogram);
    // The sum first: what is observed meanwhile may then be missing in it, but the count is never behind it.
    auto sum = value->sum();
    std::vector<metrics_text::bucket> buckets;
    for (auto& bucket : value->buckets())
      buckets.push_back({bucket.upper_bound, static_cast<std::uint64_t>(bucket.count.value())});
    out_.add(labels_of(*one), buckets, sum);
  }

private:
  void describe(const caf::telemetry::metric_family& family, metric_kind kind) {
    auto& prefix = family.prefix();
    out_.describe(prefix.empty() ? family.name() : prefix + "_" + family.name(), family.unit(), kind,
                  family.helptext());
  }

  static metric_labels labels_of(const caf::telemetry::metric& one) {
    metric_labels result;
    for (auto& label : one.labels())
      result.emplace_back(std::string{label.name().data(), label.name().size()},
                          std::string{label.value().data(), label.value().size()});
    return result;
  }

  metrics_text& out_;
};

} // namespace

std::string metric_name(std::string_view text) {
  return with_valid_characters(text, true);
}

std::string label_name(std::string_view text) {
  auto result = with_valid_characters(text, false);
  return result.starts_with("__") ? "label" + result : result;
}

void metrics_text::describe(std::string_view name, std::string_view unit, metric_kind kind, std::string_view help) {
  auto full = metric_name(name);
  auto end_with = [&](const std::string& end) {
    if (!full.ends_with("_" + end))
      full += "_" + end;
  };
  constexpr std::string_view total = "_total";
  // The unit stands before it.
  if (full.ends_with(total) && full.size() > total.size())
    full.resize(full.size() - total.size());
  if (!unit.empty() && unit != "1")
    end_with(metric_name(unit));
  if (kind == metric_kind::counter)
    end_with("total");
  auto known = families_.find(full);
  if (known != families_.end() && known->second.kind != kind)
    full += fmt::format("_{}", to_string(kind));
  name_ = full;
  auto& family = families_[full];
  family.kind = kind;
  if (family.help.empty())
    family.help = help;
}

void metrics_text::add(const metric_labels& labels, metric_value value) {
  assert(!name_.empty());
  auto text = render(labels);
  families_[name_].samples.try_emplace(text, fmt::format("{}{} {}\n", name_, braced(text), render(value)));
}

void metrics_text::add(const metric_labels& labels, const std::vector<bucket>& buckets, metric_value sum) {
  assert(!name_.empty());
  auto text = render(labels, "le");
  std::string lines;
  std::uint64_t count = 0;
  auto line = [&](const std::string& bound) {
    lines += fmt::format("{}_bucket{{{}{}le=\"{}\"}} {}\n", name_, text, text.empty() ? "" : ",", bound, count);
  };
  for (auto& bucket : buckets) {
    count += bucket.count;
    if (!is_largest(bucket.upper_bound))
      line(render(bucket.upper_bound));
  }
  line("+Inf");
  lines += fmt::format("{}_sum{} {}\n", name_, braced(text), render(sum));
  lines += fmt::format("{}_count{} {}\n", name_, braced(text), count);
  families_[name_].samples.try_emplace(text, std::move(lines));
}

void metrics_text::add_all(const caf::telemetry::metric_registry& registry) {
  collector into{*this};
  registry.collect(into);
}

std::string metrics_text::str() const {
  std::string result;
  for (auto& [name, family] : families_) {
    if (family.samples.empty())
      continue;
    result +=
        fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, escaped_help(family.help), name, to_string(family.kind));
    for (auto& [labels, lines] : family.samples)
      result += lines;
  }
  return result;
}

} // namespace astra
