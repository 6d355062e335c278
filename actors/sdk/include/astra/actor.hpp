#pragma once

#include <astra/actor_abi.hpp>
#include <astra/json.hpp>

#include <algorithm>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

// Write your own actor: a class with a state, the messages it takes and what it does with each.
//
//   class tally : public astra::actor {
//   public:
//     explicit tally(astra::setup& setup) {
//       setup.argument("init", sum_, "What it begins with.");
//       setup.on("add", "Adds and tells the sum.", [this](std::int64_t amount) { return sum_ += amount; },
//                astra::field("amount", "How much.", 1));
//       setup.on("get", "Tells the sum.", [this] { return sum_; });
//       setup.state("sum", sum_);
//     }
//   private:
//     std::int64_t sum_ = 0;
//   };
//   ASTRA_ACTOR("tally", tally, "Adds up what it is sent.");
//
// A message is JSON: {"add":{"amount":2}} is answered 42.  Handlers are called one after the other, so that an actor
// needs no locks.  What depends on time or chance asks astra::context, and runs in a simulation as it does live.
//
// Fields, arguments and results may be bool, integers, double, std::string, astra::json_value (any JSON), std::vector,
// std::optional and std::map<std::string, ...> of these.

namespace astra {
inline namespace v1 {

/// Release of Astra that this header belongs to.
inline constexpr std::string_view sdk_release = "0.1.0";

/// Thrown by a handler, or by a constructor, that does not do what it is asked: who asked is told the text.
class refused : public std::runtime_error {
public:
  using std::runtime_error::runtime_error;
};

/// What a result holds in place of a value.
struct failure {
  std::string message;
};

/// For handlers that may fail and do not throw: `return astra::fail("no such key")`.
inline failure fail(std::string message) {
  return {std::move(message)};
}

/// A value, or why there is none.
template <class T>
class result {
public:
  result(T value) : what_(std::move(value)) {}
  result(failure why) : what_(std::move(why)) {}

  const T* value() const { return std::get_if<T>(&what_); }
  const failure* error() const { return std::get_if<failure>(&what_); }

private:
  std::variant<T, failure> what_;
};

// -- types of fields ----------------------------------------------------------

/// How a type is named, read and written.  Specialise it for types of your own:
///   static std::string name();
///   static bool read(const json_value&, T&);   // false: not one
///   static json_value write(const T&);
template <class T>
struct field_type;

template <>
struct field_type<bool> {
  static std::string name() { return "bool"; }
  static bool read(const json_value& from, bool& to) {
    auto value = from.get_if<bool>();
    return value != nullptr && (to = *value, true);
  }
  static json_value write(bool value) { return value; }
};

template <std::integral T>
struct field_type<T> {
  static std::string name() { return (std::is_signed_v<T> ? "int" : "uint") + std::to_string(sizeof(T) * 8); }
  static bool read(const json_value& from, T& to) {
    auto value = from.get_if<std::int64_t>();
    return value != nullptr && std::in_range<T>(*value) && (to = static_cast<T>(*value), true);
  }
  static json_value write(T value) {
    if (std::in_range<std::int64_t>(value))
      return value;
    return static_cast<double>(value);
  }
};

template <std::floating_point T>
struct field_type<T> {
  static std::string name() { return "double"; }
  static bool read(const json_value& from, T& to) {
    if (auto whole = from.get_if<std::int64_t>())
      return to = static_cast<T>(*whole), true;
    auto value = from.get_if<double>();
    return value != nullptr && (to = static_cast<T>(*value), true);
  }
  static json_value write(T value) { return static_cast<double>(value); }
};

template <>
struct field_type<std::string> {
  static std::string name() { return "text"; }
  static bool read(const json_value& from, std::string& to) {
    auto value = from.get_if<std::string>();
    return value != nullptr && (to = *value, true);
  }
  static json_value write(const std::string& value) { return value; }
};

template <>
struct field_type<json_value> {
  static std::string name() { return "json"; }
  static bool read(const json_value& from, json_value& to) { return to = from, true; }
  static json_value write(const json_value& value) { return value; }
};

template <class T>
struct field_type<std::optional<T>> {
  static std::string name() { return field_type<T>::name() + " or null"; }
  static bool read(const json_value& from, std::optional<T>& to) {
    if (from.is_null())
      return to = std::nullopt, true;
    return field_type<T>::read(from, to.emplace());
  }
  static json_value write(const std::optional<T>& value) { return value ? field_type<T>::write(*value) : json_value{}; }
};

template <class T>
struct field_type<std::vector<T>> {
  static std::string name() { return "list of " + field_type<T>::name(); }
  static bool read(const json_value& from, std::vector<T>& to) {
    auto list = from.get_if<json_value::list>();
    if (list == nullptr)
      return false;
    to.clear();
    for (auto& item : *list) {
      T one{};
      if (!field_type<T>::read(item, one))
        return false;
      to.push_back(std::move(one));
    }
    return true;
  }
  static json_value write(const std::vector<T>& value) {
    json_value::list result;
    for (const auto& one : value)
      result.push_back(field_type<T>::write(one));
    return result;
  }
};

template <class T>
struct field_type<std::map<std::string, T>> {
  static std::string name() { return "object of " + field_type<T>::name(); }
  static bool read(const json_value& from, std::map<std::string, T>& to) {
    auto members = from.get_if<json_value::object>();
    if (members == nullptr)
      return false;
    to.clear();
    for (auto& [key, value] : *members)
      if (!field_type<T>::read(value, to[key]))
        return false;
    return true;
  }
  static json_value write(const std::map<std::string, T>& value) {
    json_value::object result;
    for (auto& [key, one] : value)
      result.emplace_back(key, field_type<T>::write(one));
    return result;
  }
};

// -- what an actor sees -------------------------------------------------------

/// Time and chance of the world an actor lives in.  In a simulation both are those of the run: the same seed brings the
/// same run.  A handler that wants it takes it as its first parameter; setup::world() is the same one.
class context {
public:
  explicit context(const astra_actor_host* host) : host_(host) {}

  /// Since the actor began.
  std::chrono::nanoseconds now() const { return std::chrono::nanoseconds{host_->now_ns(host_->self)}; }

  /// 64 random bits.
  std::uint64_t random() { return host_->random(host_->self); }
  /// Below `end`; 0 when that is 0.
  std::uint64_t random_below(std::uint64_t end) {
    if (end == 0)
      return 0;
    // What is left of the range would come more often than the rest.
    auto usable = std::numeric_limits<std::uint64_t>::max() - std::numeric_limits<std::uint64_t>::max() % end;
    auto drawn = random();
    while (drawn >= usable)
      drawn = random();
    return drawn % end;
  }
  /// In [0, 1).
  double random_share() { return static_cast<double>(random() >> 11) * 0x1p-53; }

  /// One line for the log of the replica, where `astra app show` and `why` find the last ones.
  void log(std::string_view line) { host_->log(host_->self, {line.data(), line.size()}); }

private:
  const astra_actor_host* host_;
};

/// An actor: derive from it, and say in a constructor that takes a setup& what it understands.
class actor {
public:
  actor() = default;
  actor(const actor&) = delete;
  actor& operator=(const actor&) = delete;
  virtual ~actor() = default;
};

/// One field of a message.
struct field_text {
  std::string name;
  std::string doc;
  /// Absent: the field must be there.
  std::optional<json_value> fallback;
};

/// A field that must be there; one of type std::optional may be left out.
inline field_text field(std::string name, std::string doc) {
  return {std::move(name), std::move(doc), std::nullopt};
}

/// A field that may be left out.
template <class T>
field_text field(std::string name, std::string doc, const T& fallback) {
  return {std::move(name), std::move(doc), field_type<T>::write(fallback)};
}
inline field_text field(std::string name, std::string doc, const char* fallback) {
  return {std::move(name), std::move(doc), json_value{fallback}};
}

namespace detail {

/// The parameters and the result of a lambda.
template <class T>
struct call : call<decltype(&T::operator())> {};
template <class C, class R, class... A>
struct call<R (C::*)(A...) const> {
  static constexpr bool wants_context = false;
  using outcome = R;
  using values = std::tuple<std::decay_t<A>...>;
};
template <class C, class R, class... A>
struct call<R (C::*)(context&, A...) const> {
  static constexpr bool wants_context = true;
  using outcome = R;
  using values = std::tuple<std::decay_t<A>...>;
};
template <class C, class R, class... A>
struct call<R (C::*)(A...)> : call<R (C::*)(A...) const> {};
template <class C, class R, class... A>
struct call<R (C::*)(context&, A...)> : call<R (C::*)(context&, A...) const> {};

template <class T>
inline constexpr bool may_be_null = false;
template <class T>
inline constexpr bool may_be_null<std::optional<T>> = true;

/// Name of what a handler answers.
template <class T>
struct outcome_of {
  static std::string name() { return field_type<T>::name(); }
  static json_value write(const T& value) { return field_type<T>::write(value); }
};
template <>
struct outcome_of<void> {
  static std::string name() { return "null"; }
};
template <>
struct outcome_of<const char*> {
  static std::string name() { return "text"; }
  static json_value write(const char* value) { return value; }
};
template <class T>
struct outcome_of<result<T>> {
  static std::string name() { return outcome_of<T>::name(); }
  static json_value write(const result<T>& outcome) {
    if (auto why = outcome.error())
      throw refused{why->message};
    return outcome_of<T>::write(*outcome.value());
  }
};

/// Who sent it is to blame.
class invalid : public std::runtime_error {
public:
  using std::runtime_error::runtime_error;
};

/// Insertions, deletions, replacements and exchanges of neighbours that lead from one word to the other.
inline std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<std::size_t>> row(3, std::vector<std::size_t>(b.size() + 1));
  for (std::size_t j = 0; j <= b.size(); ++j)
    row[1][j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    auto& now = row[(i + 1) % 3];
    auto& before = row[i % 3];
    now[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      now[j] = std::min({before[j] + 1, now[j - 1] + 1, before[j - 1] + (a[i - 1] == b[j - 1] ? 0u : 1u)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        now[j] = std::min(now[j], row[(i - 1) % 3][j - 2] + 1);
    }
  }
  return row[(a.size() + 1) % 3][b.size()];
}

/// "; did you mean 'amount'?", or what there is.
inline std::string suggestion(std::string_view word, const std::vector<std::string>& known, std::string_view there_are,
                              std::string_view there_is_none) {
  auto best = known.end();
  auto least = std::max<std::size_t>(1, word.size() / 3) + 1;
  for (auto it = known.begin(); it != known.end(); ++it)
    if (auto steps = distance(word.substr(0, 64), *it); steps < least) {
      least = steps;
      best = it;
    }
  if (best != known.end())
    return "; did you mean '" + *best + "'?";
  if (known.empty())
    return "; " + std::string{there_is_none};
  std::string list;
  for (auto& one : known)
    list += (list.empty() ? "" : ", ") + one;
  return "; " + std::string{there_are} + " " + list;
}

/// The start of what somebody sent, for an error message.
inline std::string excerpt(std::string_view text) {
  constexpr std::size_t most = 40;
  std::string result;
  for (auto c : text.substr(0, most))
    result += c >= ' ' && c <= '~' ? c : '?';
  return text.size() > most ? result + "..." : result;
}

/// Names of messages, fields and arguments can be typed in a shell.
inline bool good_name(std::string_view name) {
  auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; };
  return !name.empty() && name.size() <= 64 && letter(name.front())
         && std::all_of(name.begin(), name.end(),
                        [&](char c) { return letter(c) || (c >= '0' && c <= '9') || c == '-'; });
}

struct message {
  std::string name;
  std::string doc;
  std::vector<field_text> fields;
  std::vector<std::string> types;
  std::string outcome;
  std::function<json_value(context&, const json_value::object& fields)> handle;
};

struct argument {
  std::string name;
  std::string doc;
  std::string type;
  json_value fallback;
  bool required = false;
};

struct seen_value {
  std::string name;
  std::string doc;
  std::function<json_value()> read;
};

struct reply {
  astra_actor_status status = ASTRA_ACTOR_OK;
  bool is_text = false;
  std::string message;
  std::string body;
};

class instance;

} // namespace detail

/// What an actor takes and shows, said once, in its constructor.  Names consist of letters, digits, '_' and '-';
/// messages called "describe" and "info" are answered by Astra.
class setup {
public:
  /// A start argument that may be left out: the variable keeps what it holds then.
  /// @throws refused when what is given is of another type.
  template <class T>
  void argument(std::string name, T& variable, std::string doc = {}) {
    add_argument({std::move(name), std::move(doc), field_type<T>::name(), field_type<T>::write(variable), false},
                 variable);
  }

  /// A start argument that must be given.
  /// @throws refused when it is not, or is of another type.
  template <class T>
  void required(std::string name, T& variable, std::string doc = {}) {
    add_argument({std::move(name), std::move(doc), field_type<T>::name(), {}, true}, variable);
  }

  /// A message and what is done with it.
  /// @param handler A lambda: one parameter per field, in their order, maybe context& before them.  It returns the
  ///   answer, nothing, or a result<...>; an exception is an answer that failed.
  /// @param fields One field() per parameter.
  template <class Handler, class... Fields>
  void on(std::string name, std::string doc, Handler handler, Fields... fields) {
    using call = detail::call<Handler>;
    using values = typename call::values;
    static_assert(std::tuple_size_v<values> == sizeof...(Fields),
                  "name every parameter of the handler with astra::field");
    detail::message added;
    added.name = std::move(name);
    added.doc = std::move(doc);
    added.fields = {std::move(fields)...};
    added.outcome = detail::outcome_of<typename call::outcome>::name();
    describe_fields<values>(added, std::make_index_sequence<sizeof...(Fields)>{});
    added.handle = [handler = std::move(handler), fields = added.fields,
                    message = added.name](context& world, const json_value::object& given) mutable {
      values arguments{};
      read_fields(message, fields, given, arguments, std::make_index_sequence<sizeof...(Fields)>{});
      return answer_of<call>(handler, world, arguments);
    };
    add_message(std::move(added));
  }

  /// What is done with a body that does not have the form of a message.
  /// @param handler Takes a std::string, maybe context& before it; a std::string that it returns is the answer as it
  /// is.
  /// @param everything Also what has the form of a message, but of none that was named above.
  template <class Handler>
  void on_text(std::string doc, Handler handler, bool everything = false) {
    using call = detail::call<Handler>;
    static_assert(std::is_same_v<typename call::values, std::tuple<std::string>>, "the handler takes a std::string");
    text_doc_ = std::move(doc);
    takes_everything_ = everything;
    on_text_ = [handler = std::move(handler)](context& world, std::string body) mutable {
      std::tuple<std::string> arguments{std::move(body)};
      return answer_of<call>(handler, world, arguments);
    };
  }

  /// What `info` shows of the actor's state.
  /// @param variable Lives as long as the actor.
  template <class T>
  void state(std::string name, const T& variable, std::string doc = {}) {
    if constexpr (std::is_invocable_v<const T&>) {
      seen_.push_back({std::move(name), std::move(doc), [variable] {
                         return detail::outcome_of<std::decay_t<decltype(variable())>>::write(variable());
                       }});
    } else {
      seen_.push_back({std::move(name), std::move(doc), [&variable] { return field_type<T>::write(variable); }});
    }
  }

  /// Time and chance, for the actor's whole life.
  context& world() { return world_; }

private:
  friend class detail::instance;

  setup(const astra_actor_host* host, json_value::object arguments, bool only_described)
    : world_(host), arguments_(std::move(arguments)), only_described_(only_described) {}

  void problem(std::string text) {
    if (problem_.empty())
      problem_ = std::move(text);
  }

  /// At once: the constructor must not go on with a value that nobody gave.
  [[noreturn]] void refuse_argument(std::string text) {
    problem(text);
    throw refused{std::move(text)};
  }

  template <class T>
  void add_argument(detail::argument added, T& variable) {
    if (!detail::good_name(added.name))
      problem("the argument '" + added.name + "' has a name that nobody could type");
    for (auto& other : known_)
      if (other.name == added.name)
        problem("the argument '" + added.name + "' is there twice");
    auto given = std::find_if(arguments_.begin(), arguments_.end(), [&](auto& one) { return one.first == added.name; });
    if (given != arguments_.end())
      read_argument(added, given->second, variable);
    else if (added.required && !only_described_)
      refuse_argument("the argument '" + added.name + "' is missing"
                      + (added.doc.empty() ? std::string{} : ": " + added.doc) + " (" + added.type + ")");
    known_.push_back(std::move(added));
  }

  /// An argument comes from a file or a command line, where everything may be a text.
  template <class T>
  void read_argument(const detail::argument& what, const json_value& given, T& variable) {
    T value{};
    if (field_type<T>::read(given, value)) {
      variable = std::move(value);
      return;
    }
    auto text = given.get_if<std::string>();
    std::string ignored;
    auto parsed = text == nullptr ? std::nullopt : parse_json(*text, ignored);
    if (parsed && field_type<T>::read(*parsed, value))
      variable = std::move(value);
    else
      refuse_argument("the argument '" + what.name + "' must be " + what.type + ", not "
                      + (text == nullptr ? std::string{given.kind()} : "'" + detail::excerpt(*text) + "'"));
  }

  void add_message(detail::message added) {
    auto where = "the message '" + added.name + "'";
    if (!detail::good_name(added.name))
      problem(where + " has a name that nobody could type");
    if (added.name == "describe" || added.name == "info")
      problem(where + " is answered by Astra; call it something else");
    for (auto& other : messages_)
      if (other.name == added.name)
        problem(where + " is there twice");
    for (auto& one : added.fields) {
      if (!detail::good_name(one.name))
        problem(where + " has a field '" + one.name + "' that nobody could type");
      if (std::count_if(added.fields.begin(), added.fields.end(), [&](auto& other) { return other.name == one.name; })
          > 1)
        problem(where + " has a field '" + one.name + "' twice");
    }
    messages_.push_back(std::move(added));
  }

  template <class Values, std::size_t... I>
  void describe_fields(detail::message& what, std::index_sequence<I...>) {
    (describe_field<std::tuple_element_t<I, Values>>(what, what.fields[I]), ...);
  }

  template <class T>
  void describe_field(detail::message& what, field_text& field) {
    if (!field.fallback && detail::may_be_null<T>)
      field.fallback = json_value{};
    T ignored{};
    if (field.fallback && !field_type<T>::read(*field.fallback, ignored))
      problem("the message '" + what.name + "' has a field '" + field.name + "' whose default, "
              + to_json(*field.fallback) + ", is no " + field_type<T>::name());
    what.types.push_back(field_type<T>::name());
  }

  template <class Values, std::size_t... I>
  static void read_fields(const std::string& message, const std::vector<field_text>& fields,
                          const json_value::object& given, Values& out, std::index_sequence<I...>) {
    for (auto& [name, value] : given) {
      std::vector<std::string> names;
      for (auto& one : fields)
        names.push_back(one.name);
      if (std::find(names.begin(), names.end(), name) == names.end())
        throw detail::invalid{message + " has no field '" + detail::excerpt(name) + "'"
                              + detail::suggestion(name, names, "its fields are", "it has none")};
    }
    (read_field(message, fields[I], given, std::get<I>(out)), ...);
  }

  template <class T>
  static void read_field(const std::string& message, const field_text& field, const json_value::object& given, T& out) {
    auto found = std::find_if(given.begin(), given.end(), [&](auto& one) { return one.first == field.name; });
    if (found == given.end() && !field.fallback)
      throw detail::invalid{message + ": the field '" + field.name + "' is missing"
                            + (field.doc.empty() ? "" : ": " + field.doc) + " (" + field_type<T>::name() + ")"};
    auto& value = found == given.end() ? *field.fallback : found->second;
    if (!field_type<T>::read(value, out))
      throw detail::invalid{message + ": '" + field.name + "' must be " + field_type<T>::name() + ", not "
                            + detail::excerpt(to_json(value))};
  }

  template <class Call, class Handler, class Values>
  static json_value answer_of(Handler& handler, context& world, Values& values) {
    auto invoke = [&](auto&... each) {
      if constexpr (Call::wants_context)
        return handler(world, each...);
      else
        return handler(each...);
    };
    if constexpr (std::is_void_v<typename Call::outcome>) {
      std::apply(invoke, values);
      return {};
    } else {
      return detail::outcome_of<typename Call::outcome>::write(std::apply(invoke, values));
    }
  }

  context world_;
  json_value::object arguments_;
  bool only_described_;
  std::string problem_;
  std::vector<detail::argument> known_;
  std::vector<detail::message> messages_;
  std::vector<detail::seen_value> seen_;
  std::string text_doc_;
  bool takes_everything_ = false;
  std::function<json_value(context&, std::string)> on_text_;
};

// -- what Astra sees of a library ---------------------------------------------

namespace detail {

/// Bytes of a message, blanks included: to tell whether a body is one it is parsed as a whole.  What is longer can only
/// be a text.
inline constexpr std::size_t message_max = std::size_t{1} << 20;

/// An actor with its messages.
class instance {
public:
  /// @throws std::exception when the arguments are wrong, or the actor's constructor does.
  template <class Actor>
  static std::unique_ptr<instance> make(std::string name, std::string doc, const astra_actor_host* host,
                                        json_value::object arguments, bool only_described) {
    std::unique_ptr<instance> result{
        new instance{std::move(name), std::move(doc), host, std::move(arguments), only_described}};
    try {
      result->self_ = std::make_unique<Actor>(result->setup_);
    } catch (const std::exception& error) {
      // What it says of a default may only be so because the name of the argument has a mistake.
      auto wrong = result->what_is_wrong();
      if (wrong.empty() || wrong == error.what())
        throw;
      throw refused{wrong + " (and then: " + error.what() + ")"};
    }
    if (auto wrong = result->what_is_wrong(); !wrong.empty())
      throw refused{wrong};
    return result;
  }

  reply handle(std::string_view body) {
    reply result;
    try {
      // Parsed once, whether it turns out to be a message or not.
      std::string no_json;
      auto parsed = could_be_message(body) ? parse_json(body, no_json) : std::nullopt;
      if (!no_json.empty() && !takes_what_is_broken())
        throw invalid{name_ + " takes JSON, and this is none: " + no_json};
      auto members = parsed ? parsed->get_if<json_value::object>() : nullptr;
      auto is_message =
          members != nullptr && members->size() == 1
          && (members->front().second.is_null() || members->front().second.get_if<json_value::object>() != nullptr);
      if (is_message)
        if (auto found = find(members->front().first)) {
          auto fields = members->front().second.get_if<json_value::object>();
          result.message = found->name;
          result.body = to_json(found->handle(setup_.world_, fields == nullptr ? json_value::object{} : *fields));
          return result;
        }
      if (setup_.on_text_ && (!is_message || setup_.takes_everything_)) {
        auto answer = setup_.on_text_(setup_.world_, std::string{body});
        auto text = answer.get_if<std::string>();
        result.is_text = text != nullptr;
        result.body = text == nullptr ? to_json(answer) : *text;
        return result;
      }
      if (is_message)
        throw invalid{name_ + " has no message '" + excerpt(members->front().first) + "'"
                      + suggestion(members->front().first, names(), "its messages are", "it has none")};
      throw invalid{name_ + " takes messages such as " + example() + ", not "
                    + (body.empty() ? "nothing" : "'" + excerpt(body) + "'")};
    } catch (const invalid& error) {
      result.status = ASTRA_ACTOR_INVALID;
      result.body = error.what();
    } catch (const refused& error) {
      result.status = ASTRA_ACTOR_REFUSED;
      result.body = error.what();
    } catch (const std::exception& error) {
      result.status = ASTRA_ACTOR_BROKEN;
      result.body = error.what();
    } catch (...) {
      result.status = ASTRA_ACTOR_BROKEN;
      result.body = "it threw something that is no std::exception";
    }
    result.is_text = true;
    return result;
  }

  json_value describe() const {
    json_value result;
    result.set("actor", name_);
    result.set("doc", doc_);
    json_value::list arguments, messages;
    for (auto& one : setup_.known_) {
      json_value entry;
      entry.set("name", one.name);
      entry.set("type", one.type);
      if (one.required)
        entry.set("required", true);
      else
        entry.set("default", one.fallback);
      entry.set("doc", one.doc);
      arguments.push_back(std::move(entry));
    }
    for (auto& one : setup_.messages_) {
      json_value entry;
      entry.set("name", one.name);
      entry.set("doc", one.doc);
      json_value::list fields;
      for (std::size_t i = 0; i < one.fields.size(); ++i) {
        json_value described;
        described.set("name", one.fields[i].name);
        described.set("type", one.types[i]);
        if (one.fields[i].fallback)
          described.set("default", *one.fields[i].fallback);
        else
          described.set("required", true);
        described.set("doc", one.fields[i].doc);
        fields.push_back(std::move(described));
      }
      entry.set("fields", std::move(fields));
      entry.set("answer", one.outcome);
      messages.push_back(std::move(entry));
    }
    result.set("arguments", std::move(arguments));
    result.set("messages", std::move(messages));
    if (setup_.on_text_)
      result.set("text", setup_.text_doc_);
    return result;
  }

  json_value state() const {
    json_value::object result;
    for (auto& one : setup_.seen_)
      result.emplace_back(one.name, one.read());
    return result;
  }

private:
  instance(std::string name, std::string doc, const astra_actor_host* host, json_value::object arguments,
           bool only_described)
    : name_(std::move(name)), doc_(std::move(doc)), setup_(host, std::move(arguments), only_described) {}

  /// With how it is set up; empty: nothing.
  std::string what_is_wrong() const {
    if (!setup_.problem_.empty())
      return setup_.problem_;
    std::vector<std::string> names;
    for (auto& one : setup_.known_)
      names.push_back(one.name);
    for (auto& given : setup_.arguments_)
      if (std::find(names.begin(), names.end(), given.first) == names.end())
        return "it has no argument '" + excerpt(given.first) + "'"
               + suggestion(given.first, names, "its arguments are", "it takes none");
    return {};
  }

  /// Whether a body must be parsed to tell what it is.
  /// @throws invalid when it is too long for that, and can be nothing else.
  bool could_be_message(std::string_view body) const {
    auto begin = body.find_first_not_of(" \t\r\n");
    if (begin == std::string_view::npos || body[begin] != '{')
      return false;
    // Whatever it is, it goes to the same handler.
    if (setup_.on_text_ && setup_.takes_everything_ && setup_.messages_.empty())
      return false;
    if (body.size() <= message_max)
      return true;
    if (setup_.on_text_ && find(first_name(body.substr(begin + 1))) == nullptr)
      return false;
    throw invalid{"a message has at most " + std::to_string(message_max) + " bytes, and this one has "
                  + std::to_string(body.size())};
  }

  /// A text that begins with '{' is a mistake where messages are taken.
  bool takes_what_is_broken() const {
    return setup_.on_text_ && (setup_.takes_everything_ || setup_.messages_.empty());
  }

  /// The name that an object begins with, of what follows its '{'; empty: none that a message could have.
  static std::string_view first_name(std::string_view rest) {
    auto quote = rest.find_first_not_of(" \t\r\n");
    if (quote == std::string_view::npos || rest[quote] != '"')
      return {};
    rest.remove_prefix(quote + 1);
    auto end = rest.find('"');
    return end == std::string_view::npos ? std::string_view{} : rest.substr(0, end);
  }

  const message* find(std::string_view name) const {
    for (auto& one : setup_.messages_)
      if (one.name == name)
        return &one;
    return nullptr;
  }

  std::vector<std::string> names() const {
    std::vector<std::string> result;
    for (auto& one : setup_.messages_)
      result.push_back(one.name);
    return result;
  }

  std::string example() const {
    return setup_.messages_.empty() ? R"({"describe":{}})" : "{\"" + setup_.messages_.front().name + "\":{...}}";
  }

  std::string name_;
  std::string doc_;
  setup setup_;
  std::unique_ptr<actor> self_;
};

inline astra_bytes bytes_of(std::string_view text) {
  return {text.data(), text.size()};
}

inline std::string_view view_of(astra_bytes bytes) {
  return {bytes.data, static_cast<std::size_t>(bytes.size)};
}

/// An actor that is only described asks for nothing.
inline const astra_actor_host* no_host() {
  static constexpr astra_actor_host none{nullptr, [](void*) -> std::int64_t { return 0; },
                                         [](void*) -> std::uint64_t { return 0; }, [](void*, astra_bytes) {}};
  return &none;
}

template <class Function>
void give(astra_text_sink to, Function text) {
  std::string result;
  try {
    result = text();
  } catch (const std::exception& error) {
    json_value problem;
    problem.set("error", std::string_view{error.what()});
    result = to_json(problem);
  } catch (...) {
    result = R"({"error":"it threw something that is no std::exception"})";
  }
  to.take(to.to, bytes_of(result));
}

/// The functions through which a program uses actors of this type.
/// @tparam Registration One class may be known under several names: a type for each.
template <class Actor, class Registration>
struct __attribute__((visibility("hidden"))) type_of {
  struct words {
    std::string name;
    std::string doc;
  };

  /// What it was made known as, the last one at the end; the texts stay where they are.  Actors are made known before
  /// main(), in any order: this is there when it is asked for.
  static std::deque<words>& all_words() {
    static std::deque<words> all;
    return all;
  }

  static const words& known_as() { return all_words().back(); }

  static void* create(const astra_actor_host* host, astra_bytes arguments, astra_text_sink problem) noexcept {
    std::string why;
    try {
      auto parsed = parse_json(view_of(arguments), why);
      auto members = parsed ? parsed->get_if<json_value::object>() : nullptr;
      if (members == nullptr)
        throw refused{"its arguments are no JSON object" + (why.empty() ? "" : ": " + why)};
      return instance::make<Actor>(known_as().name, known_as().doc, host, *members, false).release();
    } catch (const std::exception& error) {
      why = error.what();
    } catch (...) {
      why = "it threw something that is no std::exception";
    }
    problem.take(problem.to, bytes_of(why));
    return nullptr;
  }

  static void destroy(void* actor) noexcept { delete static_cast<instance*>(actor); }

  static void handle(void* actor, astra_bytes body, astra_answer_sink to) noexcept {
    auto reply = static_cast<instance*>(actor)->handle(view_of(body));
    astra_actor_answer answer{reply.status, reply.is_text ? 1u : 0u, bytes_of(reply.message), bytes_of(reply.body)};
    to.take(to.to, &answer);
  }

  static void describe(void* actor, astra_text_sink to) noexcept {
    give(to, [&] {
      if (actor != nullptr)
        return to_json(static_cast<instance*>(actor)->describe());
      return to_json(instance::make<Actor>(known_as().name, known_as().doc, no_host(), {}, true)->describe());
    });
  }

  static void state(void* actor, astra_text_sink to) noexcept {
    give(to, [&] { return to_json(static_cast<instance*>(actor)->state()); });
  }

  static astra_actor_type make(std::string name, std::string doc) {
    auto& known = all_words().emplace_back(words{std::move(name), std::move(doc)});
    return {bytes_of(known.name), bytes_of(known.doc), create, destroy, handle, describe, state};
  }
};

/// The actors of this library.  Hidden, so that each library of a process has its own.
__attribute__((visibility("hidden"))) inline std::vector<astra_actor_type>& types() {
  static std::vector<astra_actor_type> all;
  return all;
}

__attribute__((visibility("hidden"))) inline const astra_actor_list* list() {
  static astra_actor_list all{astra_actor_abi, 0, bytes_of(sdk_release), 0, nullptr};
  all.count = types().size();
  all.types = types().data();
  return &all;
}

struct registration {
  explicit registration(astra_actor_type type) { types().push_back(type); }
};

} // namespace detail

/// What a program needs to run actors of a type that it has itself.
/// @tparam Registration Another one for each name of the same class.
template <class Actor, class Registration = void>
astra_actor_type actor_type(std::string name, std::string doc) {
  return detail::type_of<Actor, Registration>::make(std::move(name), std::move(doc));
}

} // namespace v1
} // namespace astra

extern "C" __attribute__((visibility("default"), used)) inline const astra_actor_list* astra_actor_library() {
  return astra::detail::list();
}

#define ASTRA_ACTOR_JOIN_(a, b) a##b
#define ASTRA_ACTOR_JOIN(a, b) ASTRA_ACTOR_JOIN_(a, b)

/// Makes a class known under a name, at namespace scope; another line makes it known under another one.
#define ASTRA_ACTOR(NAME, CLASS, DOC)                                                                                  \
  namespace {                                                                                                          \
  struct ASTRA_ACTOR_JOIN(astra_registered_, __LINE__);                                                                \
  }                                                                                                                    \
  static const ::astra::detail::registration ASTRA_ACTOR_JOIN(astra_registration_, __LINE__) {                         \
    ::astra::actor_type<CLASS, ASTRA_ACTOR_JOIN(astra_registered_, __LINE__)>(NAME, DOC)                               \
  }
