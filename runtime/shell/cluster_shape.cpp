#include "runtime/shell/cluster_shape.hpp"

#include "config/spelling.hpp"
#include "config/units.hpp"
#include "messages/errc.hpp"
#include "messages/type_ids.hpp"
#include "runtime/shell/stages.hpp"

#include <fmt/format.h>

#include <utility>

namespace astra::shell {
namespace {

constexpr std::string_view usage = "write it as cluster [nodes=5] [resources=1] [cores=2] [memory=4GiB]";

caf::error problem(const std::string& text) {
  return caf::make_error(errc::invalid_argument, text);
}

caf::error read_count(std::optional<std::uint32_t>& into, const request::word& word, std::uint32_t most) {
  if (!word.what.is_number_unsigned() || word.what.get<std::uint64_t>() == 0 || word.what.get<std::uint64_t>() > most)
    return problem(fmt::format("{} = '{}': write a number from 1 to {}", word.name, word.text, most));
  into = word.what.get<std::uint32_t>();
  return {};
}

} // namespace

caf::expected<cluster_shape> read_shape(const std::vector<request::word>& words) {
  cluster_shape result;
  for (auto& word : words) {
    caf::error wrong;
    if (word.name == "nodes") {
      wrong = read_count(result.nodes, word, shape_nodes_max);
    } else if (word.name == "resources") {
      wrong = read_count(result.resources, word, shape_resources_max);
    } else if (word.name == "cores") {
      auto read = word.what.is_number() ? parse_cores(word.what.get<double>()) : quantity<std::uint32_t>{};
      if (!read.value || *read.value == 0)
        wrong = problem(fmt::format("cores = '{}': write a number of cores, such as 0.5 or 4", word.text));
      else
        result.cpu_milli = *read.value;
    } else if (word.name == "memory") {
      auto read = parse_size(word.text);
      if (!read.value || *read.value == 0)
        wrong = problem(fmt::format("memory = '{}': write a size, such as 512MiB", word.text));
      else
        result.memory_bytes = *read.value;
    } else if (word.name.empty()) {
      wrong = problem(fmt::format("'{}' has no name; {}", word.text, usage));
    } else {
      auto meant = closest(word.name, {"nodes", "resources", "cores", "memory"});
      wrong = problem(fmt::format("a cluster has no '{}'{}; {}", word.name,
                                  meant ? fmt::format("; did you mean '{}'?", *meant) : "", usage));
    }
    if (wrong)
      return wrong;
  }
  if (words.empty())
    return problem(std::string{usage});
  return result;
}

shaped_script parse_shaped(std::string_view text) {
  shaped_script result;
  auto parsed = parse(text);
  result.statements = std::move(parsed.statements);
  result.error = std::move(parsed.error);
  if (result.error || result.statements.empty())
    return result;
  auto& first = result.statements.front();
  if (!first.source_call || first.source_call->verb != "cluster")
    return result;
  auto nothing_known = [](const reference& what) -> caf::expected<json> {
    return problem(
        fmt::format("{}: a cluster is made before anything has a result; write plain values", to_text(what)));
  };
  std::vector<request::word> words;
  for (auto& one : first.source_call->arguments) {
    auto read = evaluate(one.what, nothing_known);
    if (!read) {
      result.error = syntax_error{one.what.at, error_text(read.error())};
      return result;
    }
    auto written = one.what.what == value::kind::number ? one.what.written : plain_text(*read);
    words.push_back({one.name, std::move(*read), std::move(written), false});
  }
  auto shape = read_shape(words);
  if (shape)
    result.shape = *shape;
  else
    result.error = syntax_error{first.at, error_text(shape.error())};
  return result;
}

} // namespace astra::shell
