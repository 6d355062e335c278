#include "runtime/cli/commands/commands.hpp"

#include "actors/resource/node_filter.hpp"
#include "messages/errc.hpp"
#include "messages/group.hpp"
#include "runtime/cli/human.hpp"
#include "runtime/cli/table.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <map>
#include <optional>
#include <utility>
#include <variant>

namespace astra {
namespace {

milliseconds age_of(const json& node) {
  return milliseconds{static_cast<std::int64_t>(count_in(node, "age_ms"))};
}

std::string cores_of(const json& node) {
  return fmt::format("{}/{}", human_number(number_in(node, "cores_reserved")), human_number(number_in(node, "cores")));
}

std::string memory_of(const json& node) {
  return fmt::format("{} / {}", human_bytes(count_in(node, "memory_reserved_bytes")),
                     human_bytes(count_in(node, "memory_bytes")));
}

std::string accelerators_of(const json& node) {
  std::string out;
  for (const auto& accelerator : list_in(node, "accelerators"))
    out += fmt::format("{}{} x {} (coefficient {})", out.empty() ? "" : ", ", count_in(accelerator, "count"),
                       text_in(accelerator, "kind"), human_number(number_in(accelerator, "coefficient")));
  return out;
}

std::string reserved_cards_of(const json& node) {
  std::string out;
  for (const auto& [kind, count] : list_in(node, "accelerators_reserved").items())
    out += fmt::format("{}{} x {}", out.empty() ? "" : ", ", count.dump(), kind);
  return out;
}

std::string labels_of(const json& node) {
  std::string out;
  for (const auto& [key, value] : list_in(node, "labels").items())
    out += fmt::format("{}{}={}", out.empty() ? "" : ", ", key,
                       value.is_string() ? value.get<std::string>() : value.dump());
  return out;
}

/// What one column of a list of nodes says, to people and to programs.
struct node_column {
  std::string_view key;
  std::string_view title;
  align side = align::left;
  table_cell (*shown)(const json& node);
  /// For csv and for sorting: a number, a text.
  json (*exact)(const json& node);
  /// Without --columns.
  bool usual = false;
};

std::string apps_of(const json& node) {
  std::map<std::string, std::size_t> count;
  for (const auto& replica : list_in(node, "replicas"))
    ++count[text_in(replica, "app")];
  std::string out;
  for (const auto& [app, replicas] : count)
    out += fmt::format("{}{}{}", out.empty() ? "" : ",", app, replicas > 1 ? fmt::format("x{}", replicas) : "");
  return out;
}

std::string cards_of(const json& node) {
  std::string out;
  for (const auto& accelerator : list_in(node, "accelerators"))
    out += fmt::format("{}{}x{}", out.empty() ? "" : ",", text_in(accelerator, "kind"), count_in(accelerator, "count"));
  return out;
}

template <const char* Key>
table_cell text_cell(const json& node) {
  return text_in(node, Key);
}
template <const char* Key>
json exact_text(const json& node) {
  return text_in(node, Key);
}
template <const char* Key>
table_cell count_cell(const json& node) {
  return std::to_string(count_in(node, Key));
}
template <const char* Key>
json exact_number(const json& node) {
  return node.is_object() && node.contains(Key) && node[Key].is_number() ? node[Key] : json(0);
}

constexpr char name_key[] = "name", id_key[] = "id", reason_key[] = "reason", home_key[] = "home",
               group_key[] = "group", address_key[] = "address", running_key[] = "running", queued_key[] = "queued",
               done_key[] = "done", failed_key[] = "failed", cores_key[] = "cores", reserved_key[] = "cores_reserved",
               util_key[] = "utilisation", memory_key[] = "memory_bytes",
               memory_reserved_key[] = "memory_reserved_bytes", age_key[] = "age_ms", incarnation_key[] = "incarnation";

const std::vector<node_column>& columns() {
  static const std::vector<node_column> all{
      {"name", "NAME", align::left, text_cell<name_key>, exact_text<name_key>, true},
      {"state", "STATE", align::left,
       [](const json& node) {
         auto state = text_in(node, "state");
         return table_cell{state, tone_of_state(state)};
       },
       [](const json& node) { return json(text_in(node, "state")); }, true},
      {"cores", "CORES", align::right, [](const json& node) { return table_cell{cores_of(node)}; },
       exact_number<cores_key>, true},
      {"memory", "MEMORY", align::right, [](const json& node) { return table_cell{memory_of(node)}; },
       exact_number<memory_key>, true},
      {"util", "UTIL", align::right,
       [](const json& node) { return table_cell{human_share(number_in(node, "utilisation"))}; }, exact_number<util_key>,
       true},
      {"running", "RUN", align::right, count_cell<running_key>, exact_number<running_key>, true},
      {"queued", "QUEUE", align::right, count_cell<queued_key>, exact_number<queued_key>, true},
      {"replicas", "REPLICAS", align::right,
       [](const json& node) { return table_cell{std::to_string(list_in(node, "replicas").size())}; },
       [](const json& node) { return json(list_in(node, "replicas").size()); }, true},
      {"age", "AGE", align::right, [](const json& node) { return table_cell{human_duration(age_of(node))}; },
       exact_number<age_key>, true},
      {"home", "HOME", align::left, text_cell<home_key>, exact_text<home_key>, true},
      {"reason", "REASON", align::left, text_cell<reason_key>, exact_text<reason_key>, true},
      {"group", "GROUP", align::left, text_cell<group_key>, exact_text<group_key>, false},
      {"cores_reserved", "CORES RESERVED", align::right,
       [](const json& node) { return table_cell{human_number(number_in(node, "cores_reserved"))}; },
       exact_number<reserved_key>, false},
      {"memory_reserved", "MEMORY RESERVED", align::right,
       [](const json& node) { return table_cell{human_bytes(count_in(node, "memory_reserved_bytes"))}; },
       exact_number<memory_reserved_key>, false},
      {"done", "DONE", align::right, count_cell<done_key>, exact_number<done_key>, false},
      {"failed", "FAILED", align::right, count_cell<failed_key>, exact_number<failed_key>, false},
      {"accelerators", "ACCELERATORS", align::left, [](const json& node) { return table_cell{cards_of(node)}; },
       [](const json& node) { return json(cards_of(node)); }, false},
      {"labels", "LABELS", align::left, [](const json& node) { return table_cell{labels_of(node)}; },
       [](const json& node) { return json(labels_of(node)); }, false},
      {"apps", "APPS", align::left, [](const json& node) { return table_cell{apps_of(node)}; },
       [](const json& node) { return json(apps_of(node)); }, false},
      {"address", "ADDRESS", align::left, text_cell<address_key>, exact_text<address_key>, false},
      {"incarnation", "INCARNATION", align::right, count_cell<incarnation_key>, exact_number<incarnation_key>, false},
      {"id", "ID", align::left, text_cell<id_key>, exact_text<id_key>, false},
  };
  return all;
}

const node_column& column_of(std::string_view key) {
  return *std::find_if(columns().begin(), columns().end(), [&](auto& column) { return column.key == key; });
}

/// Those that are asked for, else the usual ones of a table or all of csv.
std::vector<const node_column*> chosen(const std::vector<std::string>& keys, output_format format) {
  std::vector<const node_column*> result;
  for (auto& key : keys)
    result.push_back(&column_of(key));
  if (result.empty())
    for (auto& column : columns())
      if (column.usual || format == output_format::csv)
        result.push_back(&column);
  return result;
}

std::string csv_field_of(const json& value) {
  return csv_field(value.is_string() ? value.get<std::string>() : value.dump());
}

/// Rows up to this number are kept and sorted by name; of more, each is printed as it comes.
constexpr std::size_t kept_rows = 1000;

/// Prints a listing in one of the formats.
class listing_printer {
public:
  listing_printer(command_context& context, const list_options& options, const std::vector<std::string>& columns)
    : context_(context), options_(options), columns_(chosen(columns, context.options.format)), table_(titles()) {}

  /// False when stdout is gone.
  bool add(json node) {
    ++listed_;
    if (!options_.sort.empty()) {
      kept_.push_back(std::move(node));
      return true;
    }
    if (streaming_) {
      print(node);
    } else {
      kept_.push_back(std::move(node));
      if (kept_.size() > kept_rows)
        stream();
    }
    return static_cast<bool>(context_.out());
  }

  /// Of a complete listing.
  /// @param more nodes that the gateway left out
  void end(std::uint64_t more) {
    if (!streaming_) {
      sort();
      if (!options_.sort.empty() && options_.limit != 0 && kept_.size() > options_.limit) {
        more += kept_.size() - options_.limit;
        kept_.resize(options_.limit);
        listed_ = options_.limit;
      }
      if (context_.options.format == output_format::table) {
        print_small_table();
      } else {
        for (auto& node : kept_)
          print(node);
      }
    } else if (context_.options.format == output_format::table) {
      context_.out() << table_.render_next(context_.options.colour_out);
    }
    if (context_.options.format == output_format::json)
      context_.out() << (printed_ == 0 ? "{\n  \"nodes\": []\n}\n" : "\n  ]\n}\n");
    else if (context_.options.format == output_format::csv && printed_ == 0)
      print_csv_header();
    if (more > 0)
      context_.say(shown_of(listed_, listed_ + more, "node"));
  }

  /// Of a listing that broke off: what came of it.
  void cut() {
    if (context_.options.format == output_format::json)
      return;
    if (!streaming_)
      sort();
    if (context_.options.format != output_format::table)
      for (auto& node : kept_)
        print(node);
    else if (streaming_)
      context_.out() << table_.render_next(context_.options.colour_out);
    else if (!kept_.empty())
      print_small_table();
  }

private:
  std::vector<table_column> titles() const {
    std::vector<table_column> result;
    for (auto* column : columns_)
      result.push_back({std::string{column->title}, column->side});
    return result;
  }

  void stream() {
    streaming_ = true;
    for (auto& node : kept_)
      print(node);
    kept_.clear();
    if (context_.options.format == output_format::table)
      context_.out() << table_.render_next(context_.options.colour_out);
  }

  void sort() {
    struct order {
      const node_column* by;
      bool falls;
    };
    std::vector<order> orders;
    std::string_view rest = options_.sort.empty() ? std::string_view{"name"} : options_.sort;
    while (!rest.empty()) {
      auto key = rest.substr(0, rest.find(','));
      rest.remove_prefix(std::min(rest.size(), key.size() + 1));
      auto falls = key.starts_with('-');
      orders.push_back({&column_of(key.substr(falls ? 1 : 0)), falls});
    }
    // Once for each, not once for each comparison.
    std::vector<std::pair<std::vector<json>, json>> keyed;
    keyed.reserve(kept_.size());
    for (auto& node : kept_) {
      std::vector<json> keys;
      for (auto& one : orders)
        keys.push_back(one.by->exact(node));
      keyed.emplace_back(std::move(keys), std::move(node));
    }
    std::stable_sort(keyed.begin(), keyed.end(), [&](auto& a, auto& b) {
      for (std::size_t i = 0; i < orders.size(); ++i) {
        auto& left = orders[i].falls ? b.first[i] : a.first[i];
        auto& right = orders[i].falls ? a.first[i] : b.first[i];
        if (left != right)
          return left < right;
      }
      return false;
    });
    for (std::size_t i = 0; i < keyed.size(); ++i)
      kept_[i] = std::move(keyed[i].second);
  }

  void print_small_table() {
    if (kept_.empty()) {
      if (options_.where.empty())
        context_.out() << "no nodes yet; start one with 'astra run -c node.toml'\n";
      else
        context_.say("no node matches");
      return;
    }
    for (auto& node : kept_)
      table_.add(cells(node));
    context_.out() << table_.render(context_.options.colour_out);
  }

  std::vector<table_cell> cells(const json& node) const {
    std::vector<table_cell> row;
    for (auto* column : columns_)
      row.push_back(column->shown(node));
    return row;
  }

  void print_csv_header() {
    std::string line;
    for (auto* column : columns_)
      line += fmt::format("{}{}", line.empty() ? "" : ",", column->key);
    context_.out() << line << "\r\n";
  }

  void print(const json& node) {
    switch (context_.options.format) {
    case output_format::table:
      table_.add(cells(node));
      if (++waiting_ == kept_rows / 10) {
        waiting_ = 0;
        context_.out() << table_.render_next(context_.options.colour_out);
      }
      break;
    case output_format::json: {
      auto text = pretty(node);
      text.pop_back();
      context_.out() << (printed_ == 0 ? "{\n  \"nodes\": [\n" : ",\n");
      std::size_t begin = 0;
      for (auto end = text.find('\n'); begin < text.size(); end = text.find('\n', begin)) {
        auto length = std::min(end, text.size()) - begin;
        context_.out() << (begin == 0 ? "    " : "\n    ") << std::string_view{text}.substr(begin, length);
        begin += length + 1;
      }
      break;
    }
    case output_format::ndjson:
      context_.out() << node.dump(-1, ' ', false, json::error_handler_t::replace) << '\n';
      break;
    case output_format::line:
    case output_format::name:
      if (printed_ > 0 && context_.options.format == output_format::line)
        context_.out() << '\n';
      context_.out() << rows_in(context_.options.format, json::array({node}), "name");
      break;
    case output_format::csv: {
      if (printed_ == 0)
        print_csv_header();
      std::string line;
      auto first = true;
      for (auto* column : columns_) {
        line += (std::exchange(first, false) ? "" : ",") + csv_field_of(column->exact(node));
      }
      context_.out() << line << "\r\n";
      break;
    }
    }
    ++printed_;
  }

  command_context& context_;
  const list_options& options_;
  const std::vector<const node_column*> columns_;
  text_table table_;
  std::vector<json> kept_;
  bool streaming_ = false;
  std::size_t listed_ = 0;
  std::size_t printed_ = 0;
  std::size_t waiting_ = 0;
};

std::string all_fields() {
  std::string out;
  for (auto& field : filter_fields())
    out += fmt::format("{}{} ({})", out.empty() ? "" : ", ", field.name, field.meaning);
  return out;
}

const std::string& list_details() {
  static const std::string text =
      "CORES and MEMORY are reserved by replicas / offered.  UTIL is the busy share of the cores.  AGE is the time "
      "since "
      "the node's last heartbeat.  HOME is the Resource it beats to.  With -o json all fields, exact. "
      "A filter compares fields with ==, !=, <, <=, >, >=, in (...) and =~ (a text with * and ?), and joins with and, "
      "or, "
      "not and parentheses.  Fields: "
      + all_fields()
      + "; a label by its bare key or as label(\"KEY\").  It is evaluated at the Resource.  A list that could not be "
        "completed ends with an error and a code other than 0.";
  return text;
}

} // namespace

const command_text node_text = {"List, show and drain nodes", "", ""};

const command_text node_list_text = {
    "List nodes with their state, capacity and load",
    list_details(),
    "astra node list\nastra node list --where 'util>0.8 and zone==\"a\"' --sort -util\n"
    "astra node list --where 'memory_free>=8GiB and not app==\"ocr\"' -o csv --columns name,memory,home\n"
    "astra node list -o ndjson | jq .name",
};

const command_text node_show_text = {"Show everything known of one node, and what happened to it lately", "",
                                     "astra node show node-1"};

const command_text node_drain_text = {
    "Take a node out of service",
    "The node accepts no more work from this moment on and finishes what it has begun.",
    "astra node drain node-1",
};

std::vector<std::string> node_columns() {
  std::vector<std::string> result;
  for (auto& column : columns())
    result.emplace_back(column.key);
  return result;
}

int list_nodes(command_context& context, const list_options& options, const std::vector<std::string>& columns) {
  auto format = context.options.format;
  if (!columns.empty() && format != output_format::table && format != output_format::csv)
    return context.fail(exit_usage,
                        "--columns is for tables and csv; json has every field, leave it out or write -o csv");
  auto filter = node_filter::parse(options.where);
  if (auto problem = std::get_if<node_filter::problem>(&filter))
    return fail_where(context, options.where, problem->column, problem->message);
  std::string target = "/v1/nodes?format=ndjson";
  if (!options.where.empty())
    target += "&where=" + percent_encoded(options.where);
  // Which nodes are the first so many is known only when all are sorted.
  if (options.limit != 0 && options.sort.empty())
    target += fmt::format("&limit={}", options.limit);
  listing_printer printer{context, options, columns};
  json refusal;
  std::optional<std::uint64_t> more;
  auto failed = context.read_lines(
      std::move(target),
      [&](const json& line) {
        if (!flag_in(line, "end"))
          return printer.add(line);
        more = count_in(line, "more");
        return true;
      },
      &refusal);
  if (auto column = count_in(refusal.is_object() ? list_in(refusal, "error") : json::object(), "column"); column > 0)
    return fail_where(context, options.where, column, text_in(list_in(refusal, "error"), "message"));
  if (failed || !more)
    printer.cut();
  if (failed)
    return context.fail(failed);
  if (!more) {
    if (!context.out())
      return exit_failed;
    return context.fail(exit_unreachable, "the list has no end line: it is not complete");
  }
  printer.end(*more);
  return exit_ok;
}

int show_node(command_context& context, const std::string& name) {
  auto node = context.ask("GET", "/v1/nodes/" + percent_encoded(name));
  if (!node)
    return context.fail(node.error());
  json events = json::array();
  json notes = json::array();
  auto missing = context.read_lines(fmt::format("/v1/events?node={}&last=10", percent_encoded(text_in(*node, "name"))),
                                    [&](const json& line) {
                                      (line.contains("note") ? notes : events).push_back(line);
                                      return true;
                                    });
  if (context.options.format == output_format::json) {
    (*node)["events"] = events;
    (*node)["event_notes"] = notes;
    if (missing)
      (*node)["events_missing"] = error_text(missing);
    context.out() << pretty(*node);
    return exit_ok;
  }
  auto colour = context.options.colour_out;
  context.out() << render_node(*node, colour) << "\n" << paint("recent events", tone::title, colour) << "\n";
  for (const auto& event : events)
    context.out() << render_event(event, colour);
  if (events.empty() && !missing)
    context.out() << "none that any Resource remembers\n";
  for (const auto& note : notes)
    if (text_in(note, "note") != "lost" && text_in(note, "note") != "cut")
      context.say(fmt::format("{}: {}", printable(text_in(note, "resource")), printable(text_in(note, "message"))));
  if (missing)
    context.say("the events cannot be shown: " + error_text(missing));
  return exit_ok;
}

int drain_node(command_context& context, const std::string& name) {
  auto answer = context.ask("POST", fmt::format("/v1/nodes/{}/drain", percent_encoded(name)));
  if (!answer)
    return context.fail(answer.error());
  if (context.options.format == output_format::json)
    context.out() << pretty(*answer);
  else
    context.out() << fmt::format("node {} is draining; {} running and {} queued will be finished\n", name,
                                 counted(count_in(*answer, "running"), "request"), count_in(*answer, "queued"));
  return exit_ok;
}

std::string render_nodes(const json& answer, bool colour) {
  std::vector<table_column> titles;
  for (auto* column : chosen({}, output_format::table))
    titles.push_back({std::string{column->title}, column->side});
  text_table table{std::move(titles)};
  for (const auto& node : list_in(answer, "nodes")) {
    std::vector<table_cell> row;
    for (auto* column : chosen({}, output_format::table))
      row.push_back(column->shown(node));
    table.add(std::move(row));
  }
  return table.empty() ? "no nodes yet; start one with 'astra run -c node.toml'\n" : table.render(colour);
}

namespace {

// Where all Resources are in one group, it says nothing.
std::string in_group(const std::string& group) {
  return group.empty() || group == main_group ? "" : " of the group " + group;
}

} // namespace

std::string render_node(const json& node, bool colour) {
  std::string out;
  auto line = [&](std::string_view title, const std::string& text) {
    if (!text.empty())
      out += fmt::format("{}{}\n", paint(fmt::format("{:<13}", title), tone::title, colour), text);
  };
  auto state = printable(text_in(node, "state"));
  auto reason = printable(text_in(node, "reason"));
  line("name", printable(text_in(node, "name")));
  line("state", paint(state, tone_of_state(state), colour) + (reason.empty() ? "" : ": " + reason));
  line("last beat", fmt::format("{} ago, to {}{}", human_duration(age_of(node)), printable(text_in(node, "home")),
                                in_group(printable(text_in(node, "group")))));
  line("address", printable(text_in(node, "address")));
  line("cores", fmt::format("{} reserved, {} busy", cores_of(node), human_share(number_in(node, "utilisation"))));
  line("memory", memory_of(node) + " reserved");
  line("accelerators", printable(accelerators_of(node)));
  line("cards held", printable(reserved_cards_of(node)));
  line("labels", printable(labels_of(node)));
  line("capacity", printable(text_in(node, "capacity_origin")));
  line("limits", printable(text_in(node, "limits_backend")));
  line("requests", fmt::format("{} running, {} queued, {} done, {} failed", count_in(node, "running"),
                               count_in(node, "queued"), count_in(node, "done"), count_in(node, "failed")));
  line("identity", fmt::format("{}, incarnation {}, beat {}, profile {}, home epoch {}", printable(text_in(node, "id")),
                               count_in(node, "incarnation"), count_in(node, "beat"), count_in(node, "profile_version"),
                               count_in(node, "home_epoch")));
  text_table replicas{{{"REPLICA"}, {"STATE"}, {"RESTARTS", align::right}, {"REASON"}}};
  for (const auto& replica : list_in(node, "replicas")) {
    auto replica_state = text_in(replica, "state");
    replicas.add({fmt::format("{}/{}", text_in(replica, "app"), count_in(replica, "index")),
                  {replica_state, tone_of_state(replica_state)},
                  count_in(replica, "restarts") > 0 ? std::to_string(count_in(replica, "restarts")) : "",
                  text_in(replica, "reason")});
  }
  out += replicas.empty() ? "no replicas\n" : "\n" + replicas.render(colour);
  return out;
}

} // namespace astra
