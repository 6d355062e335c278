#pragma once

#include "messages/wire/transfer.pb.h"
#include "runtime/gateway/model_book.hpp"
#include "runtime/gateway/model_wish.hpp"

#include <optional>
#include <string>
#include <vector>

// What the HTTP API says of models, as plain functions.

namespace astra {

/// What a node said to an order.
struct model_answer {
  std::string node;
  /// Nothing: it did not answer.
  std::optional<pb::ContentReply> reply;
  /// Why not.
  std::string problem;
  /// Of the content's files on this node when it was asked.
  std::uint64_t bytes = 0;

  bool accepted() const { return reply && reply->code().empty(); }
  /// Name of an errc; empty: accepted.
  std::string code() const { return reply ? reply->code() : "unreachable"; }
  std::string reason() const { return reply ? reply->reason() : problem; }
};

/// All versions that were not removed.
std::string models_json(const model_book& book);

/// @param versions removed ones too.
std::string model_json(const model_book& book, const std::string& name, const std::vector<pb::ContentName>& versions);

/// What became of an order that went to several nodes.
std::string model_order_json(const pb::ContentName& name, const std::vector<model_answer>& answers);

/// Who gave its files free, and where they stay.
std::string model_removal_json(const pb::ContentName& name, const std::vector<model_answer>& answers);

std::string model_publishing_json(const std::string& node, const pb::ContentJob& job);

std::string model_job_json(const model_job_name& job, const pb::ContentJob& status);
/// @param answers one for each job.
std::string model_jobs_json(const std::vector<model_job_name>& jobs, const std::vector<model_answer>& answers);

std::string model_nodes_json(const model_book& book);
std::string model_limit_json(const model_book& book);

} // namespace astra
