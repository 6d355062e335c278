#include "runtime/shell/parse.hpp"

#include "config/units.hpp"

#include <tao/pegtl.hpp>
#include <tao/pegtl/contrib/parse_tree.hpp>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <memory>
#include <utility>

#include <fmt/format.h>

// The only translation unit that knows PEGTL.  The grammar recognises; the functions below make the tree of syntax.hpp
// out of what was recognised.

namespace astra::shell {
namespace rules {

namespace p = tao::pegtl;

/// As deep as blocks, parentheses and JSON may nest: the parser calls itself for each level.
constexpr int deepest = 64;

template <std::size_t N>
struct words {
  constexpr words(const char (&what)[N]) { std::copy_n(what, N, text); }
  char text[N];
};

/// Here must be what Rule takes, else the script is wrong and this is what it lacks.
template <words What, class Rule>
struct wants {
  using rule_t = wants;
  using subs_t = p::type_list<Rule>;

  template <p::apply_mode A, p::rewind_mode, template <class...> class Action, template <class...> class Control,
            class Input, class... States>
  static bool match(Input& in, States&&... states) {
    if (Control<Rule>::template match<A, p::rewind_mode::required, Action, Control>(in, states...))
      return true;
    throw p::parse_error(std::string{"expected "} + What.text, in);
  }
};

thread_local int depth = 0;

template <class Rule>
struct nested {
  using rule_t = nested;
  using subs_t = p::type_list<Rule>;

  struct level {
    level() { ++depth; }
    ~level() { --depth; }
  };

  template <p::apply_mode A, p::rewind_mode M, template <class...> class Action, template <class...> class Control,
            class Input, class... States>
  static bool match(Input& in, States&&... states) {
    level here;
    if (depth > deepest)
      throw p::parse_error(fmt::format("more than {} levels; write it flatter", deepest), in);
    return Control<Rule>::template match<A, M, Action, Control>(in, states...);
  }
};

struct letter : p::ranges<'a', 'z', 'A', 'Z', '_'> {};
struct letter_or_digit : p::ranges<'a', 'z', 'A', 'Z', '0', '9', '_'> {};
struct end_of_line : p::sor<p::string<'\r', '\n'>, p::one<'\n'>> {};
struct continuation : p::seq<p::one<'\\'>, end_of_line> {};
struct comment : p::seq<p::one<'#'>, p::star<p::not_one<'\n'>>> {};
struct blank : p::sor<p::one<' ', '\t'>, p::seq<p::one<'\r'>, p::at<p::sor<p::one<'\n'>, p::eof>>>, continuation> {};
/// Between what stands on one line.
struct ws : p::star<p::sor<blank, comment>> {};
struct gap : p::plus<blank> {};
/// Where a line end means nothing.
struct wide : p::star<p::sor<blank, comment, p::one<'\n'>>> {};
struct separators : p::star<p::sor<blank, comment, p::one<'\n', ';'>>> {};

// Words and values.

/// What a word may be of without quotes.
struct word_char
  : p::sor<p::ranges<'!', '!', '#', '#', '%', '&', '(', ':', '<', '[', ']', 'z', '~', '~', '\x80', '\xff'>,
           p::seq<p::one<'\\'>, p::not_at<p::sor<end_of_line, p::eof>>>> {};
struct word_end : p::not_at<p::sor<word_char, p::one<'"', '\'', '$'>>> {};
template <char... Letters>
struct keyword : p::seq<p::string<Letters...>, word_end> {};
/// In conditions words end earlier.
template <char... Letters>
struct bare_keyword : p::seq<p::string<Letters...>, p::not_at<p::sor<letter_or_digit, p::one<'-', '.'>>>> {};

struct name : p::seq<letter, p::star<letter_or_digit>> {};
struct path_key : p::plus<p::sor<letter_or_digit, p::one<'-'>>> {};
struct path : p::star<p::one<'.'>, path_key> {};
struct result_name : p::opt<p::sor<name, p::plus<p::digit>>> {};
struct app_name : p::seq<letter_or_digit, p::star<p::sor<letter_or_digit, p::one<'-'>>>> {};
struct result_reference : p::seq<p::one<'$'>, result_name, path> {};
struct app_reference : p::seq<p::one<'@'>, app_name, path> {};
struct any_reference : p::sor<result_reference, app_reference> {};
struct whole_reference : p::seq<any_reference, word_end> {};

struct bare_text : p::plus<word_char> {};
struct raw_text : p::star<p::not_one<'\''>> {};
struct raw_quote : p::seq<p::one<'\''>, raw_text, wants<"the closing ' of the text that begins before", p::one<'\''>>> {
};
struct escape_unicode : p::seq<p::one<'u'>, p::rep<4, p::xdigit>> {};
struct escape
  : p::seq<p::one<'\\'>, wants<"one of \\n \\t \\r \\b \\f \\\" \\\\ \\/ \\$ or \\uXXXX",
                               p::sor<p::one<'n', 't', 'r', 'b', 'f', '"', '\\', '/', '$'>, escape_unicode>>> {};
struct braced_name : p::seq<result_name, path> {};
struct braced_reference : p::seq<p::string<'$', '{'>, braced_name, wants<"a name and a closing }", p::one<'}'>>> {};
struct quoted_dollar : p::one<'$'> {};
struct quoted_text : p::plus<p::not_one<'"', '\\', '$'>> {};
struct quote : p::seq<p::one<'"'>, p::star<p::sor<quoted_text, escape, braced_reference, quoted_dollar>>,
                      wants<"the closing \" of the text that begins before", p::one<'"'>>> {};
struct inner_name : p::sor<name, p::plus<p::digit>> {};
struct inner_reference : p::seq<p::one<'$'>, inner_name> {};
struct word_dollar : p::one<'$'> {};
struct text : p::plus<p::sor<bare_text, raw_quote, quote, braced_reference, inner_reference, word_dollar>> {};

struct digits : p::plus<p::digit> {};
struct plain_number : p::seq<p::opt<p::one<'-'>>, p::sor<p::one<'0'>, p::seq<p::range<'1', '9'>, p::star<p::digit>>>,
                             p::opt<p::one<'.'>, digits>, p::opt<p::one<'e', 'E'>, p::opt<p::one<'+', '-'>>, digits>> {
};
struct number : p::seq<plain_number, word_end> {};
struct constant_word
  : p::sor<p::string<'t', 'r', 'u', 'e'>, p::string<'f', 'a', 'l', 's', 'e'>, p::string<'n', 'u', 'l', 'l'>> {};
struct constant : p::seq<constant_word, word_end> {};

/// A list or an object.  Its end is where its brackets are closed; whether it is JSON says the JSON parser.
struct json_text {
  using rule_t = json_text;
  using subs_t = p::empty_list;

  template <class Input>
  static bool match(Input& in) {
    auto left = std::string_view{in.current(), in.size(0)};
    if (left.empty() || (left.front() != '{' && left.front() != '['))
      return false;
    auto open = 0;
    auto in_text = false;
    std::size_t length = 0;
    for (; length < left.size(); ++length) {
      auto c = left[length];
      if (in_text) {
        if (c == '\\')
          ++length;
        else if (c == '"')
          in_text = false;
      } else if (c == '"') {
        in_text = true;
      } else if (c == '{' || c == '[') {
        if (++open > deepest)
          throw p::parse_error(fmt::format("more than {} levels; write it flatter", deepest), in);
      } else if ((c == '}' || c == ']') && --open == 0) {
        break;
      }
    }
    auto closed = length < left.size();
    if (!closed || !json::accept(left.substr(0, length + 1))) {
      // What is cut is told at its end, so that more lines may follow.
      if (!closed)
        in.bump(left.size());
      throw p::parse_error(
          closed ? "expected JSON, such as {\"a\": 1} or [1, 2]"
                 : fmt::format("expected the closing {} of the JSON value", left.front() == '{' ? '}' : ']'),
          in);
    }
    in.bump(length + 1);
    return true;
  }
};

struct value : p::sor<json_text, constant, number, whole_reference, text> {};

// Calls.

struct verb : p::seq<p::sor<letter, p::one<':'>>, p::star<p::sor<letter_or_digit, p::one<'-'>>>> {};
struct as_word : keyword<'a', 's'> {};
struct argument_name : p::seq<letter, p::star<p::sor<letter_or_digit, p::one<'-', '.'>>>> {};
struct named_argument : p::seq<argument_name, p::one<'='>, p::not_at<p::one<'='>>, wants<"a value after =", value>> {};
struct argument : p::sor<named_argument, value> {};
struct arguments : p::star<gap, p::not_at<p::sor<as_word, p::one<'#'>>>, argument> {};
struct call : p::seq<verb, word_end, arguments> {};

// Conditions.

struct operand_keyword : p::sor<bare_keyword<'a', 'n', 'd'>, bare_keyword<'o', 'r'>, bare_keyword<'n', 'o', 't'>,
                                bare_keyword<'i', 'n'>, bare_keyword<'a', 's'>> {};
struct field : p::seq<p::not_at<operand_keyword>, letter, p::star<p::sor<letter_or_digit, p::one<'-'>>>, path> {};
struct operand : p::sor<any_reference, field> {};
struct compare
  : p::sor<p::string<'=', '='>, p::string<'!', '='>, p::string<'<', '='>, p::string<'>', '='>, p::one<'<', '>'>> {};
struct glob : p::string<'=', '~'> {};
struct not_before_in : bare_keyword<'n', 'o', 't'> {};
struct unit : p::seq<p::sor<p::plus<p::alpha>, p::one<'%'>>> {};
struct amount : p::seq<plain_number, p::opt<unit>, p::not_at<p::sor<letter_or_digit, p::one<'.', '-', '/'>>>> {};
struct bare_constant : p::seq<constant_word, p::not_at<p::sor<letter_or_digit, p::one<'.', '-', '/'>>>> {};
struct bare_word : p::seq<p::not_at<operand_keyword>, letter, p::star<p::sor<letter_or_digit, p::one<'.', '-', '/'>>>> {
};
struct compared : p::sor<any_reference, bare_constant, amount, quote, raw_quote, bare_word> {};
struct wanted_value : wants<"a value: a number, a word, a text in quotes, $result or @app", compared> {};
struct value_list : p::seq<wants<"( and the values", p::one<'('>>, wide, wanted_value,
                           p::star<wide, p::one<','>, wide, wanted_value>, wide, wants<", or )", p::one<')'>>> {};
struct in_test : p::seq<p::opt<not_before_in, ws>, bare_keyword<'i', 'n'>, ws, value_list> {};
struct test_rest : p::sor<p::seq<p::sor<glob, compare>, ws, wanted_value>, in_test> {};
struct test : p::seq<operand, ws, wants<"one of == != < <= > >= =~ in", test_rest>> {};
struct negation : p::seq<p::sor<p::seq<p::one<'!'>, p::not_at<p::one<'='>>>, bare_keyword<'n', 'o', 't'>>, ws> {};
struct condition;
struct wanted_condition : wants<"a condition, such as restarts > 0", condition> {};
struct parenthesis : nested<p::seq<p::one<'('>, wide, wanted_condition, wide, wants<"and, or, or )", p::one<')'>>>> {};
struct factor_rest : p::sor<parenthesis, test> {};
struct factor : p::sor<p::seq<p::plus<negation>, wants<"a condition behind not", factor_rest>>, factor_rest> {};
struct and_word : p::sor<p::string<'&', '&'>, bare_keyword<'a', 'n', 'd'>> {};
struct or_word : p::sor<p::string<'|', '|'>, bare_keyword<'o', 'r'>> {};
struct all_of : p::seq<factor, p::star<ws, and_word, wide, wants<"a condition behind and", factor>>> {};
struct any_of : p::seq<all_of, p::star<ws, or_word, wide, wants<"a condition behind or", all_of>>> {};
struct condition : any_of {};

// Stages.

struct falling : p::one<'-'> {};
struct sort_field : p::seq<p::opt<falling>, field> {};
struct plain_field : p::seq<field> {};
struct comma : p::seq<ws, p::one<','>, wide> {};
struct whole_count : p::seq<digits, word_end> {};
struct where_stage : p::seq<keyword<'w', 'h', 'e', 'r', 'e'>, ws, wanted_condition> {};
struct sort_stage
  : p::seq<keyword<'s', 'o', 'r', 't'>, ws, wants<"a key to sort by, such as restarts or -restarts", sort_field>,
           p::star<comma, wants<"a key behind the comma", sort_field>>> {};
struct top_stage
  : p::seq<keyword<'t', 'o', 'p'>, ws, wants<"a number, such as top 3", whole_count>, p::opt<gap, plain_field>> {};
struct limit_stage : p::seq<keyword<'l', 'i', 'm', 'i', 't'>, ws, wants<"a number, such as limit 10", whole_count>> {};
struct select_stage
  : p::seq<keyword<'s', 'e', 'l', 'e', 'c', 't'>, ws, wants<"a key, such as select app, node", plain_field>,
           p::star<comma, wants<"a key behind the comma", plain_field>>> {};
struct count_stage : keyword<'c', 'o', 'u', 'n', 't'> {};
struct any_stage : p::sor<where_stage, sort_stage, top_stage, limit_stage, select_stage, count_stage> {};
struct stages : p::star<ws, p::one<'|'>, p::not_at<p::one<'|'>>, wide,
                        wants<"where, sort, top, limit, select or count", any_stage>> {};

// Statements.

struct bind_name : p::seq<name, word_end> {};
struct bind : p::seq<ws, as_word, ws, wants<"a name after as", bind_name>> {};
struct pipeline : p::seq<p::sor<call, whole_reference>, stages, p::opt<bind>> {};

struct statements;
struct block
  : nested<p::seq<wants<"{ and the statements", p::one<'{'>>, statements, wants<"a statement or }", p::one<'}'>>>> {};
struct bound_number : p::seq<p::opt<p::one<'-'>>, digits> {};
struct bound : p::sor<bound_number, result_reference> {};
struct for_loop : p::seq<keyword<'f', 'o', 'r'>, ws, wants<"a name for the loop's number, such as i", name>, ws,
                         wants<"in and a range, such as in 1..3", keyword<'i', 'n'>>, ws,
                         wants<"a range, such as 1..3", bound>, wants<".. and the last number", p::string<'.', '.'>>,
                         wants<"the last number of the range", bound>, ws, block> {};
struct duration_word : p::plus<p::sor<letter_or_digit, p::one<'.'>>> {};
struct duration : p::seq<p::at<p::digit>, duration_word> {};
struct times_number : p::seq<digits> {};
struct every_loop
  : p::seq<keyword<'e', 'v', 'e', 'r', 'y'>, ws, wants<"a duration, such as 100ms", duration>, ws,
           p::opt<times_number, ws, wants<"times behind the number", keyword<'t', 'i', 'm', 'e', 's'>>, ws>, block> {};
struct state_word : p::seq<name, word_end> {};
struct await : p::seq<keyword<'a', 'w', 'a', 'i', 't'>, ws, wants<"what to wait for, such as @ocr", value>, ws,
                      wants<"a state, such as ready or gone", state_word>, p::opt<gap, duration, word_end>> {};
struct expect : p::seq<keyword<'e', 'x', 'p', 'e', 'c', 't'>, ws, wanted_condition> {};

struct statement : p::sor<for_loop, every_loop, await, expect, pipeline> {};
struct statement_end
  : p::seq<ws, wants<"the end of the statement", p::sor<p::one<'\n', ';'>, p::at<p::one<'}'>>, p::eof>>> {};
struct statements : p::seq<separators, p::star<statement, statement_end, separators>> {};
struct whole : p::seq<p::opt<p::utf8::bom>, statements, wants<"a statement, such as ps or help", p::eof>> {};

struct lone_condition : p::seq<wide, wanted_condition, wide, wants<"and, or, or the end of the condition", p::eof>> {};

template <class Rule>
using selector = p::parse_tree::selector<
    Rule,
    p::parse_tree::store_content::on<
        result_reference, app_reference, result_name, app_name, path, path_key, field, bare_text, raw_text, quoted_text,
        escape, braced_name, quoted_dollar, inner_name, word_dollar, text, plain_number, constant_word, json_text, verb,
        argument_name, named_argument, call, compare, glob, not_before_in, unit, amount, bare_word, quote, raw_quote,
        in_test, test, negation, all_of, condition, factor, falling, sort_field, plain_field, whole_count, where_stage,
        sort_stage, top_stage, limit_stage, select_stage, count_stage, bind_name, pipeline, bound_number, for_loop,
        name, duration, times_number, every_loop, state_word, await, expect, digits>>;

} // namespace rules

namespace {

namespace p = tao::pegtl;
using node = p::parse_tree::node;

/// What the grammar lets through and cannot be.
struct rejection {
  place at;
  std::string message;
};

class tree_builder {
public:
  tree_builder(std::string_view text, int first_line) : text_(text), first_line_(first_line) {}

  /// Columns count characters, and PEGTL counts bytes.
  place place_of(const p::position& at) const {
    auto end = std::min(at.byte, text_.size());
    auto begin = text_.rfind('\n', end == 0 ? std::string_view::npos : end - 1);
    begin = end == 0 || begin == std::string_view::npos ? 0 : begin + 1;
    auto before = text_.substr(begin, end - begin);
    auto characters = std::count_if(before.begin(), before.end(),
                                    [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; });
    return {static_cast<int>(at.line) + first_line_ - 1, static_cast<int>(characters) + 1};
  }

  script statements(const node& above) const {
    script result;
    for (auto& child : above.children)
      if (is_statement(*child))
        result.push_back(to_statement(*child));
    return result;
  }

  condition to_condition(const node& one) const {
    if (one.is_type<rules::test>())
      return to_test(one);
    if (one.is_type<rules::factor>()) {
      auto negated = std::count_if(one.children.begin(), one.children.end(),
                                   [](auto& child) { return child->template is_type<rules::negation>(); })
                         % 2
                     != 0;
      auto inner = to_condition(*one.children.back());
      if (!negated)
        return inner;
      condition result;
      result.what = condition::kind::negation;
      result.parts.push_back(std::move(inner));
      return result;
    }
    if (one.children.size() == 1)
      return to_condition(*one.children.front());
    condition result;
    result.what = one.is_type<rules::all_of>() ? condition::kind::all_of : condition::kind::any_of;
    for (auto& child : one.children)
      result.parts.push_back(to_condition(*child));
    return result;
  }

private:
  static bool is_statement(const node& one) {
    return one.is_type<rules::pipeline>() || one.is_type<rules::for_loop>() || one.is_type<rules::every_loop>()
           || one.is_type<rules::await>() || one.is_type<rules::expect>();
  }

  [[noreturn]] void reject(const node& where, std::string message) const {
    throw rejection{place_of(where.begin()), std::move(message)};
  }

  std::uint64_t to_count(const node& one) const {
    std::uint64_t result = 0;
    auto written = one.string_view();
    auto [end, error] = std::from_chars(written.data(), written.data() + written.size(), result);
    if (error != std::errc{} || end != written.data() + written.size())
      reject(one, "expected a smaller number");
    return result;
  }

  std::chrono::nanoseconds to_duration(const node& one) const {
    auto read = parse_fine_duration(one.string_view());
    if (!read.value)
      reject(one, "expected a duration, such as 100ms: " + read.problem);
    return *read.value;
  }

  static std::vector<std::string> to_path(const node& one) {
    std::vector<std::string> result;
    for (auto& key : one.children)
      result.push_back(key->string());
    return result;
  }

  reference to_reference(const node& one, char sigil) const {
    reference result;
    result.sigil = sigil;
    result.at = place_of(one.begin());
    for (auto& child : one.children)
      if (child->is_type<rules::path>())
        result.path = to_path(*child);
      else
        result.name = child->string();
    return result;
  }

  static bool is_reference(const node& one) {
    return one.is_type<rules::result_reference>() || one.is_type<rules::app_reference>();
  }

  reference to_reference(const node& one) const {
    return to_reference(one, one.is_type<rules::app_reference>() ? '@' : '$');
  }

  static void append_unicode(std::string& out, std::uint32_t code) {
    auto put = [&](std::uint32_t byte) { out += static_cast<char>(static_cast<unsigned char>(byte)); };
    if (code < 0x80) {
      put(code);
    } else if (code < 0x800) {
      put(0xc0 | code >> 6);
      put(0x80 | (code & 0x3f));
    } else if (code < 0x10000) {
      put(0xe0 | code >> 12);
      put(0x80 | (code >> 6 & 0x3f));
      put(0x80 | (code & 0x3f));
    } else {
      put(0xf0 | code >> 18);
      put(0x80 | (code >> 12 & 0x3f));
      put(0x80 | (code >> 6 & 0x3f));
      put(0x80 | (code & 0x3f));
    }
  }

  /// Pieces in order; neighbours that are characters are one.
  class pieces {
  public:
    void add(std::string_view text) {
      if (text.empty())
        return;
      if (result.empty() || result.back().inserted)
        result.emplace_back();
      result.back().text += text;
    }
    void add(reference what) { result.push_back({{}, std::move(what)}); }
    std::vector<piece> result;
  };

  void add_escape(const node& one, pieces& to, std::uint32_t& half) const {
    auto written = one.string_view();
    std::string out;
    auto pending = std::exchange(half, 0);
    switch (written[1]) {
    case 'n':
      out = "\n";
      break;
    case 't':
      out = "\t";
      break;
    case 'r':
      out = "\r";
      break;
    case 'b':
      out = "\b";
      break;
    case 'f':
      out = "\f";
      break;
    case 'u': {
      std::uint32_t code = 0;
      std::from_chars(written.data() + 2, written.data() + 6, code, 16);
      if (pending != 0 && code >= 0xdc00 && code < 0xe000) {
        append_unicode(out, 0x10000 + ((pending - 0xd800) << 10) + (code - 0xdc00));
        break;
      }
      if (pending != 0 || (code >= 0xdc00 && code < 0xe000))
        reject(one, "expected both halves of a surrogate pair, or the character itself");
      if (code >= 0xd800 && code < 0xdc00)
        half = code;
      else
        append_unicode(out, code);
      to.add(out);
      return;
    }
    default:
      out = written.substr(1, 1);
    }
    if (pending != 0 && written[1] != 'u')
      reject(one, "expected both halves of a surrogate pair, or the character itself");
    to.add(out);
  }

  void add_quote(const node& one, pieces& to) const {
    std::uint32_t half = 0;
    for (auto& child : one.children) {
      if (half != 0 && !child->is_type<rules::escape>())
        reject(*child, "expected both halves of a surrogate pair, or the character itself");
      if (child->is_type<rules::escape>())
        add_escape(*child, to, half);
      else if (child->is_type<rules::braced_name>())
        to.add(to_reference(*child, '$'));
      else
        to.add(child->string_view());
    }
    if (half != 0)
      reject(one, "expected both halves of a surrogate pair, or the character itself");
  }

  void add_pieces(const node& one, pieces& to) const {
    if (one.is_type<rules::quote>()) {
      add_quote(one, to);
    } else if (one.is_type<rules::raw_quote>()) {
      to.add(one.children.front()->string_view());
    } else if (one.is_type<rules::braced_name>()) {
      to.add(to_reference(one, '$'));
    } else if (one.is_type<rules::inner_name>()) {
      reference what;
      what.name = one.string();
      what.at = place_of(one.begin());
      to.add(std::move(what));
    } else {
      to.add(one.string_view());
    }
  }

  value to_value(const node& one) const {
    value result;
    result.at = place_of(one.begin());
    if (is_reference(one)) {
      result.what = value::kind::reference;
      result.source = to_reference(one);
    } else if (one.is_type<rules::plain_number>() || one.is_type<rules::bound_number>()) {
      result.what = value::kind::number;
      result.written = one.string();
    } else if (one.is_type<rules::amount>()) {
      auto has_unit = std::any_of(one.children.begin(), one.children.end(),
                                  [](auto& child) { return child->template is_type<rules::unit>(); });
      result.what = has_unit ? value::kind::quantity : value::kind::number;
      result.written = one.string();
    } else if (one.is_type<rules::constant_word>() || one.is_type<rules::json_text>()) {
      result.what = value::kind::literal;
      result.literal = json::parse(one.string_view());
    } else {
      pieces all;
      if (one.is_type<rules::text>())
        for (auto& child : one.children)
          add_pieces(*child, all);
      else
        add_pieces(one, all);
      result.pieces = std::move(all.result);
    }
    return result;
  }

  call to_call(const node& one) const {
    call result;
    result.at = place_of(one.begin());
    for (auto& child : one.children) {
      if (child->is_type<rules::verb>())
        result.verb = child->string();
      else if (child->is_type<rules::named_argument>())
        result.arguments.push_back({child->children.front()->string(), to_value(*child->children.back())});
      else
        result.arguments.push_back({{}, to_value(*child)});
    }
    return result;
  }

  field_choice to_field(const node& one) const {
    field_choice result;
    result.at = place_of(one.begin());
    for (auto& child : one.children) {
      if (child->is_type<rules::falling>())
        result.falling = true;
      else
        result.path = field_path(*child);
    }
    return result;
  }

  /// "a.b.0": the first key is a part of the field's text, the others are nodes of their own.
  static std::vector<std::string> field_path(const node& one) {
    std::vector<std::string> result;
    auto written = one.string_view();
    for (std::size_t begin = 0, end = 0; end != std::string_view::npos; begin = end + 1) {
      end = written.find('.', begin);
      result.emplace_back(written.substr(begin, end == std::string_view::npos ? end : end - begin));
    }
    return result;
  }

  condition to_test(const node& one) const {
    condition result;
    auto& first = *one.children.front();
    if (is_reference(first)) {
      result.operand = to_reference(first);
    } else {
      result.operand.sigil = 0;
      result.operand.path = field_path(first);
      result.operand.at = place_of(first.begin());
    }
    auto add_values = [&](const node& above, std::size_t from) {
      for (auto i = from; i < above.children.size(); ++i)
        result.values.push_back(to_value(*above.children[i]));
    };
    auto& second = *one.children[1];
    if (second.is_type<rules::in_test>()) {
      auto negated = second.children.front()->is_type<rules::not_before_in>();
      result.how = negated ? comparison::not_in : comparison::in;
      add_values(second, negated ? 1 : 0);
      return result;
    }
    auto sign = second.string_view();
    result.how = sign == "=="   ? comparison::equal
                 : sign == "!=" ? comparison::not_equal
                 : sign == "<"  ? comparison::less
                 : sign == "<=" ? comparison::less_equal
                 : sign == ">"  ? comparison::greater
                 : sign == ">=" ? comparison::greater_equal
                                : comparison::glob;
    add_values(one, 2);
    return result;
  }

  stage to_stage(const node& one) const {
    stage result;
    result.at = place_of(one.begin());
    if (one.is_type<rules::where_stage>()) {
      result.what = stage::kind::where;
      result.filter = to_condition(*one.children.front());
      return result;
    }
    result.what = one.is_type<rules::sort_stage>()     ? stage::kind::sort
                  : one.is_type<rules::top_stage>()    ? stage::kind::top
                  : one.is_type<rules::limit_stage>()  ? stage::kind::limit
                  : one.is_type<rules::select_stage>() ? stage::kind::select
                                                       : stage::kind::count;
    for (auto& child : one.children)
      if (child->is_type<rules::whole_count>())
        result.most = to_count(*child);
      else
        result.fields.push_back(to_field(*child));
    return result;
  }

  statement to_statement(const node& one) const {
    statement result;
    result.at = place_of(one.begin());
    if (one.is_type<rules::for_loop>()) {
      result.what = statement::kind::loop;
      result.variable = one.children[0]->string();
      result.from = to_value(*one.children[1]);
      result.to = to_value(*one.children[2]);
      result.body = statements(one);
    } else if (one.is_type<rules::every_loop>()) {
      result.what = statement::kind::every;
      result.period = to_duration(*one.children[0]);
      if (result.period.count() == 0)
        reject(*one.children[0], "expected a duration of more than 0");
      if (one.children.size() > 1 && one.children[1]->is_type<rules::times_number>())
        result.times = to_count(*one.children[1]);
      result.body = statements(one);
    } else if (one.is_type<rules::await>()) {
      result.what = statement::kind::await;
      result.awaited = to_value(*one.children[0]);
      result.state = one.children[1]->string();
      if (one.children.size() > 2)
        result.patience = to_duration(*one.children[2]);
    } else if (one.is_type<rules::expect>()) {
      result.what = statement::kind::expect;
      result.expected = to_condition(*one.children.front());
    } else {
      for (auto& child : one.children) {
        if (child->is_type<rules::call>())
          result.source_call = to_call(*child);
        else if (is_reference(*child))
          result.source_value = to_reference(*child);
        else if (child->is_type<rules::bind_name>())
          result.bind = child->string();
        else
          result.stages.push_back(to_stage(*child));
      }
    }
    return result;
  }

  std::string_view text_;
  int first_line_;
};

} // namespace

namespace {

/// Reads `text` by a grammar and hands on the root of its tree.
template <class Grammar, class Function>
std::optional<syntax_error> read(std::string_view text, const tree_builder& builder, Function&& use) {
  p::memory_input in{text.data(), text.size(), ""};
  rules::depth = 0;
  try {
    if (auto root = p::parse_tree::parse<Grammar, node, rules::selector>(in))
      use(*root);
  } catch (const p::parse_error& error) {
    return syntax_error{builder.place_of(error.positions().front()), std::string{error.message()}};
  } catch (const rejection& error) {
    return syntax_error{error.at, error.message};
  }
  return std::nullopt;
}

} // namespace

parsed_script parse(std::string_view text, int first_line) {
  parsed_script result;
  tree_builder builder{text, first_line};
  result.error =
      read<rules::whole>(text, builder, [&](const node& root) { result.statements = builder.statements(root); });
  return result;
}

parsed_condition parse_condition(std::string_view text) {
  parsed_condition result;
  tree_builder builder{text, 1};
  result.error = read<rules::lone_condition>(
      text, builder, [&](const node& root) { result.what = builder.to_condition(*root.children.front()); });
  return result;
}

void line_collector::add(std::string_view line) {
  char quote = 0;
  auto last = ' ';
  for (std::size_t i = 0; i < line.size(); ++i) {
    auto c = line[i];
    if (quote != 0) {
      if (c == '\\' && quote == '"')
        ++i;
      else if (c == quote)
        quote = 0;
      last = c;
      continue;
    }
    // Comments begin where a word could.
    if (c == '#' && (last == ' ' || last == '\t' || last == ';' || last == '{' || last == '|'))
      break;
    if (c == '"' || c == '\'')
      quote = c;
    else if (c == '{' || c == '[')
      ++depth_;
    else if (c == '}' || c == ']')
      --depth_;
    if (c != ' ' && c != '\t' && c != '\r')
      last = c;
    else if (last != '|' && last != '\\')
      last = ' ';
  }
  auto text_end = line.find_last_not_of(" \t\r");
  goes_on_ = quote == 0 && text_end != std::string_view::npos && last == '|';
  if (line.ends_with('\\') || line.ends_with("\\\r"))
    goes_on_ = true;
}

} // namespace astra::shell
