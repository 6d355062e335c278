#pragma once

#include "config/naming.hpp"
#include "messages/http_exchange.hpp"
#include "messages/wire/transfer.pb.h"
#include "runtime/gateway/routes.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace astra {

/// A job of a node's keeper of contents, "node:id".
struct model_job_name {
  std::string node;
  std::uint64_t id = 0;
  /// Where the node's process takes sessions; empty: the trackers know.
  std::string process;
};

std::string to_string(const model_job_name& job);

/// Which nodes a request is for.
struct model_nodes {
  enum class kind {
    /// What the route says by itself.
    usual,
    named,
    counted,
    all,
  };
  kind which = kind::usual;
  std::vector<std::string> names;
  std::uint32_t count = 0;
};

/// A request to a route of models as its path, query and body say it.
struct model_wish {
  gateway_route what = gateway_route::models;
  /// Of the path; a version of 0 is the newest.
  content_reference content;
  /// Of the directory or file to publish, on the node's machine.
  std::string path;
  /// Who is to publish; empty: a node of `machine`.
  std::string node;
  std::string machine;
  /// URL of where the files are, too; empty: nowhere.
  std::string origin;
  model_nodes nodes;
  /// Whether it is to stay when room is needed: wanted, or for /pin, to be or not to be.
  bool pin = false;
  /// To fetch it with.
  pb::ContentPriority priority = pb::CONTENT_NORMAL;
  std::vector<model_job_name> jobs;
  /// 0: none.
  std::uint64_t bytes_per_s = 0;
};

/// Jobs that one request may ask for.
constexpr std::size_t model_jobs_max = 200;

/// Reads a request.  @returns what is wrong with it and the cure, when something is.
/// @pre `route` is one of those of models.
std::variant<model_wish, std::string> read_model_wish(const route_match& route, const http_request& request);

} // namespace astra
