#include "actors/node/server_words.hpp"

#include "messages/errc.hpp"
#include "messages/type_ids.hpp"

#include <caf/sec.hpp>

#include <algorithm>
#include <cstddef>
#include <utility>

namespace astra {
namespace {

constexpr std::size_t last_words_max = 200;

} // namespace

pb::InvokeReply reply_of(http_answer& answer) {
  pb::InvokeReply result;
  auto good = answer.status >= 200 && answer.status < 300;
  result.set_outcome(good ? pb::INVOKE_OK : pb::INVOKE_APP_FAILED);
  result.set_code(answer.status);
  result.set_body(std::move(answer.body));
  result.set_content_type(std::move(answer.content_type));
  if (!good)
    result.set_reason("the app answered " + std::to_string(answer.status));
  return result;
}

pb::InvokeReply reply_of(const caf::error& reason) {
  pb::InvokeReply result;
  result.set_reason(error_text(reason));
  if (reason == errc::timed_out || reason == caf::sec::request_timeout)
    result.set_outcome(pb::INVOKE_TIMED_OUT);
  else if (reason == errc::cancelled)
    result.set_outcome(pb::INVOKE_CANCELLED);
  else if (reason == errc::unreachable)
    result.set_outcome(pb::INVOKE_NOT_STARTED);
  else if (reason == errc::output_exceeded)
    result.set_outcome(pb::INVOKE_OUTPUT_EXCEEDED);
  else if (reason == errc::app_failed)
    result.set_outcome(pb::INVOKE_APP_FAILED);
  else
    result.set_outcome(pb::INVOKE_REPLICA_LOST);
  return result;
}

bool was_connected(const caf::error& reason) {
  return reason == errc::io_failed || reason == errc::timed_out || reason == errc::app_failed
         || reason == errc::output_exceeded;
}

std::string last_words(const std::string& log_tail) {
  auto end = log_tail.find_last_not_of(" \r\n\t");
  if (end == std::string::npos)
    return {};
  auto begin = log_tail.find_last_of('\n', end);
  begin = begin == std::string::npos ? 0 : begin + 1;
  return log_tail.substr(begin, std::min(end + 1 - begin, last_words_max));
}

} // namespace astra
