#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace caf::telemetry {
class metric_registry;
} // namespace caf::telemetry

namespace astra {

enum class metric_kind : std::uint8_t { counter, gauge, histogram };

/// A name and its value, in this order everywhere.
using metric_labels = std::vector<std::pair<std::string, std::string>>;

/// Whole numbers stay exact.
using metric_value = std::variant<std::int64_t, double>;

/// Metrics in Prometheus' text exposition format, version 0.0.4, without timestamps: the time of a sample is that of
/// the scrape.  Families are sorted by name and samples by labels, so equal values are equal bytes.
///
/// Names are made valid: what is not in [a-zA-Z0-9_:] becomes "_", the unit of a metric becomes the end of its name,
/// and a counter ends in "_total".  Two families whose names become the same share one header when they are of one
/// kind; of two samples with the same labels the first stays.
class metrics_text {
public:
  /// @param unit of the samples, such as "seconds"; empty or "1": none.
  /// @param help a sentence; whatever stands in it.
  void describe(std::string_view name, std::string_view unit, metric_kind kind, std::string_view help);

  /// One sample of the family described last.
  void add(const metric_labels& labels, metric_value value);

  struct bucket {
    /// Inclusive.
    metric_value upper_bound;
    /// Observations in this bucket alone.
    std::uint64_t count = 0;
  };
  /// A histogram of the family described last.  Observations above the last finite bound are in a bucket whose bound is
  /// infinite, or the largest integer.
  void add(const metric_labels& labels, const std::vector<bucket>& buckets, metric_value sum);

  /// All families of a registry.
  void add_all(const caf::telemetry::metric_registry& registry);

  std::string str() const;

private:
  struct family {
    metric_kind kind = metric_kind::gauge;
    std::string help;
    /// Lines by labels.
    std::map<std::string, std::string> samples;
  };

  std::map<std::string, family> families_;
  /// The one described last.
  std::string name_;
};

/// `text` as a metric's name.
std::string metric_name(std::string_view text);

/// `text` as a label's name; those that begin with "__" are Prometheus' own.
std::string label_name(std::string_view text);

} // namespace astra
