#include "runtime/worker/worker.hpp"

#include "actors/apps/hosted_actor.hpp"
#include "actors/random.hpp"
#include "messages/errc.hpp"
#include "messages/type_ids.hpp"
#include "runtime/http/server.hpp"
#include "runtime/worker/mailbox.hpp"

#include <fmt/format.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <memory>
#include <random>
#include <thread>
#include <utility>

#include <pthread.h>

namespace astra {
namespace {

using steady = std::chrono::steady_clock;

/// One per message that its node lets in, at most as many as an app's concurrency may be, and some for who tries by
/// hand.
constexpr std::uint32_t connections_max = 10'100;

/// A message and who waits for its answer.
struct letter {
  http_exchange_ptr exchange;
  std::shared_ptr<std::atomic<bool>> unwanted;
};

http_response text_response(std::uint16_t status, std::string body) {
  http_response result;
  result.status = status;
  result.content_type = "text/plain";
  result.body = std::move(body);
  return result;
}

void post(mailbox<letter>& box, std::uint32_t room, const http_exchange_ptr& exchange) {
  letter added{exchange, std::make_shared<std::atomic<bool>>(false)};
  exchange->on_gone([unwanted = added.unwanted] { *unwanted = true; });
  switch (box.put(std::move(added))) {
  case mailbox<letter>::verdict::taken:
    return;
  case mailbox<letter>::verdict::full:
    exchange->answer(text_response(503, fmt::format("the actor's mailbox is full: {} messages wait", room)));
    return;
  case mailbox<letter>::verdict::closed:
    exchange->answer(text_response(503, "the actor is ending"));
    return;
  }
}

void take(mailbox<letter>& box, std::uint32_t room, const http_exchange_ptr& exchange) {
  auto& request = exchange->request();
  auto path = std::string_view{request.target}.substr(0, request.target.find('?'));
  if (path == "/ready" && (request.method == "GET" || request.method == "HEAD"))
    exchange->answer(text_response(200, "ready\n"));
  else if (path == "/" && request.method == "POST")
    post(box, room, exchange);
  else if (path == "/" || path == "/ready")
    exchange->answer(text_response(405, "POST / takes a message, GET /ready asks whether it is ready\n"));
  else
    exchange->answer(text_response(404, "there are POST / and GET /ready\n"));
}

void work(hosted_actor& actor, mailbox<letter>& box) {
  while (auto next = box.take()) {
    auto& [what, waiting] = *next;
    if (*what.unwanted)
      continue;
    auto& body = what.exchange->request().body;
    auto answer = actor.handle(body ? std::string_view{*body} : std::string_view{}, waiting);
    http_response response;
    response.status = http_status_of(answer.status);
    response.content_type = std::move(answer.content_type);
    response.body = std::move(answer.body);
    what.exchange->answer(std::move(response));
  }
}

hosted_world live_world() {
  std::random_device device;
  random_source random{(std::uint64_t{device()} << 32) | device()};
  return {[began = steady::now()] { return std::chrono::nanoseconds{steady::now() - began}; },
          [random]() mutable { return random.next(); },
          [](std::string_view line) {
            // In one piece: the actor may write from threads of its own.
            auto text = std::string{line} + '\n';
            std::fwrite(text.data(), 1, text.size(), stderr);
          }};
}

sigset_t ending_signals() {
  sigset_t result;
  sigemptyset(&result);
  sigaddset(&result, SIGTERM);
  sigaddset(&result, SIGINT);
  return result;
}

} // namespace

void block_ending_signals() {
  auto endings = ending_signals();
  pthread_sigmask(SIG_BLOCK, &endings, nullptr);
}

worker_outcome run_worker(const astra_actor_type& type, const worker_options& options,
                          const std::function<void(std::string_view)>& ready) {
  std::signal(SIGPIPE, SIG_IGN);
  // Before the first thread, so that none of them is interrupted.
  block_ending_signals();
  auto actor = hosted_actor::make(type, options.arguments, live_world());
  if (!actor)
    return {error_text(actor.error()), true};
  mailbox<letter> box{options.mailbox};
  http_server_options how;
  how.listen = fmt::format("127.0.0.1:{}", options.port);
  how.connections_max = connections_max;
  auto server = http_server::start(
      how, [&box, room = options.mailbox](const http_exchange_ptr& exchange) { take(box, room, exchange); });
  if (!server)
    return {error_text(server.error()), false};
  std::thread worker{[&actor, &box] { work(**actor, box); }};
  ready((*server)->address());
  auto endings = ending_signals();
  int signal = 0;
  while (sigwait(&endings, &signal) != 0)
    ;
  (*server)->close();
  box.close();
  worker.join();
  // Answers that are on their way.
  (*server)->wait(std::chrono::seconds{1});
  return {};
}

} // namespace astra
