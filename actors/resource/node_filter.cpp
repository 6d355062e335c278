#include "actors/resource/node_filter.hpp"

#include "actors/resource/node_facts.hpp"
#include "config/spelling.hpp"
#include "config/units.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <iterator>
#include <optional>
#include <utility>

namespace astra {
namespace {

/// Nobody types more; and the parser calls itself for each level.
constexpr std::size_t longest_text = 4096;
constexpr int deepest = 64;
/// With more lists than this to look into for every node, looking at the nodes is no slower.
constexpr std::size_t lists_max = 64;

/// What a value counts.
enum class dimension : std::uint8_t { text, number, share, bytes, seconds };

enum class field_id : std::uint8_t {
  name,
  id,
  state,
  reason,
  group,
  resource,
  address,
  cores,
  cores_free,
  cores_reserved,
  memory,
  memory_free,
  memory_reserved,
  util,
  running,
  queued,
  done,
  failed,
  age,
  replicas,
  cards,
  cards_free,
  app,
  accelerator,
  // With an argument.
  label,
  cards_of_kind,
};

struct field_row {
  std::string_view name;
  field_id id;
  dimension kind;
  /// How a value of it is written, for errors.
  std::string_view example;
  std::string_view meaning;
};

constexpr field_row fields[] = {
    {"name", field_id::name, dimension::text, "\"node-1\"", "the node's name"},
    {"state", field_id::state, dimension::text, "\"online\"", "online, suspect, draining, offline"},
    {"util", field_id::util, dimension::share, "0.8 or 80%", "busy share of the cores"},
    {"cores", field_id::cores, dimension::number, "4", "offered to apps"},
    {"cores_free", field_id::cores_free, dimension::number, "0.5", "offered and not reserved"},
    {"cores_reserved", field_id::cores_reserved, dimension::number, "0.5", "held by replicas and claims"},
    {"memory", field_id::memory, dimension::bytes, "8GiB", "offered to apps"},
    {"memory_free", field_id::memory_free, dimension::bytes, "8GiB", "offered and not reserved"},
    {"memory_reserved", field_id::memory_reserved, dimension::bytes, "8GiB", "held by replicas and claims"},
    {"running", field_id::running, dimension::number, "0", "requests in progress"},
    {"queued", field_id::queued, dimension::number, "0", "requests that wait there"},
    {"done", field_id::done, dimension::number, "0", "requests answered since its start"},
    {"failed", field_id::failed, dimension::number, "0", "requests failed since its start"},
    {"age", field_id::age, dimension::seconds, "3s", "time since its last heartbeat"},
    {"app", field_id::app, dimension::text, "\"ocr\"", "an app with a replica there"},
    {"replicas", field_id::replicas, dimension::number, "0", "how many replicas it has"},
    {"accelerator", field_id::accelerator, dimension::text, "\"t4\"", "a kind of card that it has"},
    {"accelerators", field_id::cards, dimension::number, "2", "how many cards; accelerators(\"t4\"): of one kind"},
    {"accelerators_free", field_id::cards_free, dimension::number, "2", "cards that are not reserved"},
    {"group", field_id::group, dimension::text, "\"main\"", "the Resource group of its home"},
    {"resource", field_id::resource, dimension::text, "\"resource-1\"", "its home Resource"},
    {"reason", field_id::reason, dimension::text, "\"*heartbeat*\"", "why it is not online"},
    {"address", field_id::address, dimension::text, "\"10.0.0.7:*\"", "where it takes sessions"},
    {"id", field_id::id, dimension::text, "\"d733a26dd4b49b94\"", "16 hexadecimal digits"},
};

std::vector<std::string> field_names() {
  std::vector<std::string> result;
  for (auto& row : fields)
    result.emplace_back(row.name);
  return result;
}

constexpr std::array states{"online", "suspect", "draining", "offline"};

enum class comparison : std::uint8_t { equal, not_equal, less, less_equal, greater, greater_equal, glob, in, not_in };

/// The values of a text field; most have one.
template <class Visit>
bool any_text(field_id field, const std::string& argument, const cluster_view& view, const node_entry& node,
              std::string_view home, const Visit& visit) {
  auto& profile = node.row.shape();
  switch (field) {
  case field_id::name:
    return visit(name_of(node));
  case field_id::id:
    return visit(to_string(node.id()));
  case field_id::state:
    return visit(state_name(node.row.liveness()));
  case field_id::reason:
    return visit(node.row.reason());
  case field_id::group:
    return visit(group_of(view, node));
  case field_id::resource:
    return visit(home);
  case field_id::address:
    return visit(node.row.address());
  case field_id::app:
    return std::any_of(profile.replicas().begin(), profile.replicas().end(),
                       [&](auto& replica) { return visit(replica.app()); });
  case field_id::accelerator:
    return std::any_of(profile.accelerators().begin(), profile.accelerators().end(),
                       [&](auto& card) { return card.count() > 0 && visit(card.kind()); });
  default:
    for (auto& label : profile.labels())
      if (label.key() == argument)
        return visit(label.value());
    return false;
  }
}

double number_of(field_id field, const std::string& argument, const cluster_view& view, const node_entry& node,
                 cluster_view::time_point now) {
  auto& profile = node.row.shape();
  auto& load = view.load(node);
  auto cores = [](std::uint64_t milli) { return static_cast<double>(milli) / 1000.0; };
  auto left = [](std::uint64_t all, std::uint64_t taken) { return static_cast<double>(all > taken ? all - taken : 0); };
  auto& capacity = profile.capacity();
  switch (field) {
  case field_id::cores:
    return cores(capacity.cpu_milli());
  case field_id::cores_free:
    return left(capacity.cpu_milli(), reserved_on(node).cpu_milli) / 1000.0;
  case field_id::cores_reserved:
    return cores(reserved_on(node).cpu_milli);
  case field_id::memory:
    return static_cast<double>(capacity.memory_bytes());
  case field_id::memory_free:
    return left(capacity.memory_bytes(), reserved_on(node).memory_bytes);
  case field_id::memory_reserved:
    return static_cast<double>(reserved_on(node).memory_bytes);
  case field_id::util:
    return load.host_utilisation();
  case field_id::running:
    return static_cast<double>(load.running());
  case field_id::queued:
    return static_cast<double>(load.queued());
  case field_id::done:
    return static_cast<double>(load.requests_done());
  case field_id::failed:
    return static_cast<double>(load.requests_failed());
  case field_id::age:
    return static_cast<double>(view.age(node, now).count()) / 1000.0;
  case field_id::replicas:
    return static_cast<double>(profile.replicas_size());
  case field_id::cards:
    return static_cast<double>(accelerators_of(node));
  case field_id::cards_free:
    return left(accelerators_of(node), cards_in(reserved_on(node)));
  default: {
    std::uint64_t count = 0;
    for (auto& card : profile.accelerators())
      if (card.kind() == argument)
        count += card.count();
    return static_cast<double>(count);
  }
  }
}

bool holds(comparison what, double left, double right) {
  switch (what) {
  case comparison::less:
    return left < right;
  case comparison::less_equal:
    return left <= right;
  case comparison::greater:
    return left > right;
  case comparison::greater_equal:
    return left >= right;
  default:
    return left == right;
  }
}

bool holds(comparison what, std::string_view left, std::string_view right) {
  switch (what) {
  case comparison::less:
    return left < right;
  case comparison::less_equal:
    return left <= right;
  case comparison::greater:
    return left > right;
  case comparison::greater_equal:
    return left >= right;
  case comparison::glob:
    return glob_matches(right, left);
  default:
    return left == right;
  }
}

} // namespace

struct node_filter::expression {
  enum class kind : std::uint8_t { all_of, any_of, negation, test };

  kind what = kind::test;
  /// Of all_of, any_of (two or more) and negation (one).
  std::vector<std::unique_ptr<expression>> parts;
  // A test.
  field_id field = field_id::name;
  bool is_text = false;
  /// Key of a label, kind of a card.
  std::string argument;
  comparison how = comparison::equal;
  std::vector<double> numbers;
  std::vector<std::string> texts;

  bool holds_for(const cluster_view& view, const node_entry& node, std::string_view home,
                 cluster_view::time_point now) const {
    auto part_holds = [&](auto& part) { return part->holds_for(view, node, home, now); };
    switch (what) {
    case kind::all_of:
      return std::all_of(parts.begin(), parts.end(), part_holds);
    case kind::any_of:
      return std::any_of(parts.begin(), parts.end(), part_holds);
    case kind::negation:
      return !part_holds(parts.front());
    case kind::test:
      break;
    }
    auto opposite = how == comparison::not_equal || how == comparison::not_in;
    auto found = false;
    if (is_text) {
      found = any_text(field, argument, view, node, home, [this](std::string_view value) {
        return std::any_of(texts.begin(), texts.end(), [&](auto& text) { return holds(how, value, text); });
      });
    } else {
      auto value = number_of(field, argument, view, node, now);
      found = std::any_of(numbers.begin(), numbers.end(), [&](double number) { return holds(how, value, number); });
    }
    return found != opposite;
  }

  /// As node_filter::candidates.
  std::optional<posting_union> candidates(const view_index& index) const {
    switch (what) {
    case kind::all_of: {
      std::optional<posting_union> best;
      for (auto& part : parts)
        if (auto found = part->candidates(index); found && (!best || found->size_max() < best->size_max()))
          best = std::move(found);
      return best;
    }
    case kind::any_of: {
      posting_union all;
      for (auto& part : parts) {
        auto found = part->candidates(index);
        if (!found)
          return std::nullopt;
        all.add(*found);
      }
      return all.lists() <= lists_max ? std::optional{std::move(all)} : std::nullopt;
    }
    case kind::negation:
      return std::nullopt;
    case kind::test:
      break;
    }
    if (how == comparison::not_equal || how == comparison::not_in)
      return std::nullopt;
    return is_text ? candidates_of_text(index) : candidates_of_number(index);
  }

private:
  /// What is asked for once per value need not be asked once per node.
  std::optional<posting_union> candidates_of_text(const view_index& index) const {
    auto fits = [this](std::string_view value) {
      return std::any_of(texts.begin(), texts.end(), [&](auto& text) { return holds(how, value, text); });
    };
    switch (field) {
    case field_id::label:
      return lists_of(index.label(argument), fits);
    case field_id::app:
      return lists_of(index.apps(), fits);
    case field_id::accelerator:
      return lists_of(index.accelerators(), fits);
    case field_id::name:
    case field_id::id:
      return how == comparison::equal || how == comparison::in ? std::optional{named()} : std::nullopt;
    default:
      return std::nullopt;
    }
  }

  /// An id follows from its name, and a node whose name is not known yet is called by its id.
  posting_union named() const {
    posting_union result;
    for (auto& text : texts) {
      std::uint64_t id = 0;
      auto end = text.data() + text.size();
      if (auto [stop, error] = std::from_chars(text.data(), end, id, 16);
          error == std::errc{} && stop == end && id != 0)
        result.add(node_id{id});
      if (field == field_id::name)
        result.add(make_node_id(text));
    }
    return result;
  }

  /// Of a count for which 0 does not do, only those who have something to count come into question.
  std::optional<posting_union> candidates_of_number(const view_index& index) const {
    if (std::any_of(numbers.begin(), numbers.end(), [&](double number) { return holds(how, 0.0, number); }))
      return std::nullopt;
    auto any = [](std::string_view) { return true; };
    switch (field) {
    case field_id::cards_of_kind:
      return lists_of(index.accelerators(), [this](std::string_view kind) { return kind == argument; });
    case field_id::cards:
    case field_id::cards_free:
      return lists_of(index.accelerators(), any);
    case field_id::replicas:
      return lists_of(index.apps(), any);
    default:
      return std::nullopt;
    }
  }

  template <class Fits>
  static std::optional<posting_union> lists_of(const view_index::by_value& values, const Fits& fits) {
    posting_union result;
    for (auto& [value, list] : values)
      if (fits(value))
        result.add(list);
    return result.lists() <= lists_max ? std::optional{std::move(result)} : std::nullopt;
  }
};

namespace {

using expression = node_filter::expression;
using expression_ptr = std::unique_ptr<expression>;

bool is_space(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

bool is_word_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

/// Characters of keys of labels, too, such as "topology.example/rack-2".
bool is_word(char c) {
  return is_word_start(c) || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '/';
}

std::string quoted(std::string_view text) {
  return "'" + std::string{text} + "'";
}

/// Ends the descent; never leaves parse().
struct failure {
  node_filter::problem what;
};

class parser {
public:
  explicit parser(std::string_view text) : text_(text) {}

  expression_ptr whole() {
    auto result = any();
    skip_space();
    if (at_ < text_.size())
      fail(at_, text_[at_] == ')' ? "')' closes nothing; remove it"
                                  : "nothing can follow here but 'and', 'or' or the end; what follows begins with "
                                        + quoted(rest_word()));
    return result;
  }

  std::vector<node_filter::bare_label> labels;

private:
  struct field_use {
    const field_row* row = nullptr;
    field_id id = field_id::name;
    dimension kind = dimension::text;
    std::string argument;
    /// As written.
    std::string name;
    std::string_view example;
    /// The bare key of a label, at this place.
    bool bare = false;
    std::size_t at = 0;
  };

  [[noreturn]] void fail(std::size_t at, std::string message) const { throw failure{{at + 1, std::move(message)}}; }

  void skip_space() {
    while (at_ < text_.size() && is_space(text_[at_]))
      ++at_;
  }

  /// What stands here, for an error.
  std::string_view rest_word() const {
    auto end = at_;
    while (end < text_.size() && !is_space(text_[end]) && end - at_ < 20)
      ++end;
    return text_.substr(at_, std::max<std::size_t>(end - at_, at_ < text_.size() ? 1 : 0));
  }

  bool take(std::string_view symbol) {
    skip_space();
    if (!text_.substr(at_).starts_with(symbol))
      return false;
    at_ += symbol.size();
    return true;
  }

  bool peek_word(std::string_view word) {
    skip_space();
    auto here = text_.substr(at_);
    return here.starts_with(word) && (here.size() == word.size() || !is_word(here[word.size()]));
  }

  bool take_word(std::string_view word) {
    if (!peek_word(word))
      return false;
    at_ += word.size();
    return true;
  }

  expression_ptr any() {
    deeper_ guard{*this};
    return chain(
        expression::kind::any_of, [this] { return all(); }, "or", "||");
  }

  expression_ptr all() {
    return chain(
        expression::kind::all_of, [this] { return factor(); }, "and", "&&");
  }

  template <class Next>
  expression_ptr chain(expression::kind what, Next next, std::string_view word, std::string_view symbol) {
    auto first = next();
    expression_ptr result;
    while (take_word(word) || take(symbol)) {
      if (!result) {
        result = std::make_unique<expression>();
        result->what = what;
        result->parts.push_back(std::move(first));
      }
      result->parts.push_back(next());
    }
    return result ? std::move(result) : std::move(first);
  }

  expression_ptr factor() {
    deeper_ guard{*this};
    skip_space();
    if (take_word("not") || (!text_.substr(at_).starts_with("!=") && take("!"))) {
      auto result = std::make_unique<expression>();
      result->what = expression::kind::negation;
      result->parts.push_back(factor());
      return result;
    }
    auto open = at_;
    if (take("(")) {
      auto result = any();
      if (!take(")"))
        fail(at_, "the '(' of column " + std::to_string(open + 1) + " is not closed; add ')'");
      return result;
    }
    return test();
  }

  expression_ptr test() {
    auto result = std::make_unique<expression>();
    auto field = read_field();
    result->field = field.id;
    result->is_text = field.kind == dimension::text;
    result->argument = field.argument;
    skip_space();
    auto at = at_;
    result->how = read_comparison(field);
    if (result->how == comparison::glob && !result->is_text)
      fail(at, field.name + " is a number, and =~ is for texts; compare it, such as " + field.name + " > "
                   + std::string{field.example});
    auto ordered = result->how >= comparison::less && result->how <= comparison::greater_equal;
    if (ordered && (field.id == field_id::app || field.id == field_id::accelerator || field.id == field_id::state))
      fail(at, field.name + " has no order; use ==, !=, =~ or in");
    if (result->how == comparison::in || result->how == comparison::not_in) {
      if (!take("("))
        fail(at_, "'in' needs a list, such as " + field.name + " in (" + std::string{field.example} + ")");
      do
        read_value(field, *result);
      while (take(","));
      if (!take(")"))
        fail(at_, "the list of 'in' goes on with ',' or ends with ')'");
    } else {
      read_value(field, *result);
    }
    return result;
  }

  std::string read_word() {
    auto begin = at_;
    while (at_ < text_.size() && is_word(text_[at_]))
      ++at_;
    return std::string{text_.substr(begin, at_ - begin)};
  }

  field_use read_field() {
    skip_space();
    auto begin = at_;
    if (at_ == text_.size())
      fail(at_, text_.find_first_not_of(" \t\r\n") == std::string_view::npos
                    ? "the filter is empty"
                    : "the filter ends too early; a field follows here, such as util > 0.8");
    if (!is_word_start(text_[at_]))
      fail(at_, "a field must stand here, such as util, zone or label(\"zone\"); what stands here is "
                    + quoted(rest_word()));
    field_use result;
    auto name = result.name = read_word();
    for (auto reserved : {"and", "or", "in", "not"})
      if (name == reserved)
        fail(begin, "a field must stand before " + quoted(name));
    auto known = std::find_if(std::begin(fields), std::end(fields), [&](auto& row) { return row.name == name; });
    if (take("(")) {
      if (name != "label" && name != "accelerators")
        fail(begin, quoted(name) + " takes nothing in parentheses; label(\"KEY\") and accelerators(\"KIND\") do");
      result.argument =
          read_text("a text must stand here, such as " + name + "(\"" + (name == "label" ? "zone" : "t4") + "\")");
      if (!take(")"))
        fail(at_, "the '(' of " + quoted(name) + " is not closed; add ')'");
      result.id = name == "label" ? field_id::label : field_id::cards_of_kind;
      result.kind = name == "label" ? dimension::text : dimension::number;
      result.example = name == "label" ? "\"a\"" : "2";
      result.name += "(\"" + result.argument + "\")";
      return result;
    }
    if (known != std::end(fields)) {
      result.row = known;
      result.id = known->id;
      result.kind = known->kind;
      result.example = known->example;
      return result;
    }
    if (name == "label")
      fail(begin, "label needs its key, such as label(\"zone\")");
    labels.push_back({begin + 1, name});
    result.id = field_id::label;
    result.argument = name;
    result.bare = true;
    result.at = begin;
    result.example = "\"a\"";
    return result;
  }

  comparison read_comparison(const field_use& field) {
    auto at = at_;
    static constexpr std::pair<std::string_view, comparison> symbols[] = {
        {"==", comparison::equal}, {"!=", comparison::not_equal},     {"<=", comparison::less_equal},
        {"<", comparison::less},   {">=", comparison::greater_equal}, {">", comparison::greater},
        {"=~", comparison::glob},
    };
    for (auto& [symbol, what] : symbols)
      if (take(symbol))
        return what;
    if (take_word("in"))
      return comparison::in;
    if (take_word("not")) {
      if (take_word("in"))
        return comparison::not_in;
      fail(at, "'in' must follow 'not' here; to negate a comparison write not (...)");
    }
    if (take("="))
      fail(at, "'=' is no comparison; write ==");
    if (take("~"))
      fail(at, "'~' is no comparison; write =~");
    auto like = " such as " + field.name + " == " + std::string{field.example};
    if (at == text_.size())
      fail(at, "the filter ends too early; a comparison follows here," + like);
    fail(at, "a comparison must stand here (==, !=, <, <=, >, >=, =~, in)," + like + "; what stands here is "
                 + quoted(rest_word()));
  }

  void read_value(const field_use& field, expression& into) {
    skip_space();
    if (field.kind == dimension::text) {
      auto at = at_;
      // A number after a word that is no field: it was meant to be one.
      if (field.bare && at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9')
        if (auto meant = closest(field.name, field_names()))
          fail(field.at, "no field " + quoted(field.name) + "; did you mean '" + *meant
                             + "'? (a label is a text: its value stands in quotes, such as \"a\")");
      into.texts.push_back(
          read_text(field.name + " is a text; write it in quotes, such as " + std::string{field.example}));
      if (field.id == field_id::state && into.how != comparison::glob)
        check_state(at, into.texts.back());
      return;
    }
    into.numbers.push_back(read_number(field));
  }

  void check_state(std::size_t at, const std::string& text) const {
    if (std::find(states.begin(), states.end(), text) != states.end())
      return;
    auto meant = closest(text, {states.begin(), states.end()});
    fail(at, "no state " + quoted(text)
                 + (meant ? "; did you mean '" + *meant + "'?" : "; there are online, suspect, draining, offline"));
  }

  std::string read_text(const std::string& otherwise) {
    skip_space();
    auto begin = at_;
    if (at_ == text_.size() || (text_[at_] != '"' && text_[at_] != '\''))
      fail(at_, otherwise);
    auto quote = text_[at_++];
    std::string result;
    for (; at_ < text_.size() && text_[at_] != quote; ++at_) {
      // \" \' \\ stand for the character; * and ? of a glob have no escape.
      if (text_[at_] == '\\' && at_ + 1 < text_.size())
        ++at_;
      result += text_[at_];
    }
    if (at_ == text_.size())
      fail(begin, "the text that begins here has no closing quote");
    ++at_;
    return result;
  }

  double read_number(const field_use& field) {
    auto begin = at_;
    auto end = at_;
    while (end < text_.size() && (is_word(text_[end]) || text_[end] == '%' || (end == begin && text_[end] == '+')))
      ++end;
    auto written = text_.substr(begin, end - begin);
    auto wrong = [&](const std::string& why) {
      fail(begin, why + "; write it such as " + field.name + " > " + std::string{field.example});
    };
    if (written.empty())
      wrong(at_ == text_.size() ? "the filter ends too early; a value follows here"
                                : field.name + " is a number, and " + quoted(rest_word()) + " is none");
    at_ = end;
    double value = 0.0;
    auto [stop, error] = std::from_chars(written.data(), written.data() + written.size(), value);
    auto unit = written.substr(static_cast<std::size_t>(stop - written.data()));
    if (error != std::errc{} || !std::isfinite(value))
      wrong(quoted(written) + " is no number");
    switch (field.kind) {
    case dimension::bytes: {
      auto size = parse_size(written);
      if (!size.value)
        wrong(unit.empty() ? quoted(written) + " has no unit" : quoted(written) + " is no size: " + size.problem);
      return static_cast<double>(*size.value);
    }
    case dimension::seconds: {
      auto time = parse_duration(written);
      if (!time.value)
        wrong(unit.empty() ? quoted(written) + " has no unit" : quoted(written) + " is no duration: " + time.problem);
      return static_cast<double>(time.value->count()) / 1000.0;
    }
    case dimension::share:
      if (unit == "%")
        return value / 100.0;
      [[fallthrough]];
    default:
      if (!unit.empty())
        wrong(field.name + " has no unit " + quoted(unit));
      return value;
    }
  }

  struct deeper_ {
    explicit deeper_(parser& owner) : owner(owner) {
      if (++owner.depth_ > deepest)
        owner.fail(owner.at_, "more than " + std::to_string(deepest) + " levels of parentheses; write it flatter");
    }
    ~deeper_() { --owner.depth_; }
    parser& owner;
  };

  std::string_view text_;
  std::size_t at_ = 0;
  int depth_ = 0;
};

} // namespace

node_filter::node_filter() = default;
node_filter::node_filter(node_filter&&) noexcept = default;
node_filter& node_filter::operator=(node_filter&&) noexcept = default;
node_filter::~node_filter() = default;

std::variant<node_filter, node_filter::problem> node_filter::parse(std::string_view text) {
  node_filter result;
  if (text.find_first_not_of(" \t\r\n") == std::string_view::npos)
    return result;
  if (text.size() > longest_text)
    return problem{longest_text + 1, "a filter has at most " + std::to_string(longest_text) + " characters"};
  parser descent{text};
  try {
    result.root_ = descent.whole();
  } catch (failure& stop) {
    return std::move(stop.what);
  }
  result.bare_labels_ = std::move(descent.labels);
  return result;
}

bool node_filter::matches(const cluster_view& view, const node_entry& node, std::string_view home,
                          cluster_view::time_point now) const {
  return !root_ || root_->holds_for(view, node, home, now);
}

std::optional<posting_union> node_filter::candidates(const view_index& index) const {
  return root_ ? root_->candidates(index) : std::nullopt;
}

node_filter::problem node_filter::unknown_label(const bare_label& label, std::vector<std::string> known) {
  for (auto& name : field_names())
    known.push_back(std::move(name));
  auto meant = closest(label.key, known);
  return {label.column,
          "no field " + quoted(label.key) + ", and no node has a label of that name"
              + (meant ? "; did you mean '" + *meant + "'?"
                       : "; for a label that nodes may come to have, write label(\"" + label.key + "\")")};
}

bool glob_matches(std::string_view glob, std::string_view text) {
  // One place to go back to is enough: what an earlier * took, the last one can take as well.
  std::size_t g = 0;
  std::size_t t = 0;
  auto star = std::string_view::npos;
  std::size_t retry = 0;
  while (t < text.size()) {
    if (g < glob.size() && glob[g] == '*') {
      star = g++;
      retry = t;
    } else if (g < glob.size() && (glob[g] == '?' || glob[g] == text[t])) {
      ++g;
      ++t;
    } else if (star != std::string_view::npos) {
      g = star + 1;
      t = ++retry;
    } else {
      return false;
    }
  }
  while (g < glob.size() && glob[g] == '*')
    ++g;
  return g == glob.size();
}

const std::vector<filter_field>& filter_fields() {
  static const auto all = [] {
    std::vector<filter_field> result;
    for (auto& row : fields)
      result.push_back({row.name, row.meaning});
    return result;
  }();
  return all;
}

} // namespace astra
