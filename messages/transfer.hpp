#pragma once

#include "messages/ids.hpp"
#include "messages/wire.hpp"
#include "messages/wire/transfer.pb.h"

#include <cstdint>
#include <string>
#include <vector>

namespace astra {

using swarm_report = wire<pb::SwarmReport>;
using swarm_answer = wire<pb::SwarmAnswer>;
using manifest_query = wire<pb::ManifestQuery>;
using manifest_part = wire<pb::ManifestPart>;
using name_claim = wire<pb::NameClaim>;
using name_grant = wire<pb::NameGrant>;
using swarm_query = wire<pb::SwarmQuery>;
using swarm_page = wire<pb::SwarmPage>;
using set_swarm_limit = wire<pb::SetSwarmLimit>;
using content_order = wire<pb::ContentOrder>;
using content_reply = wire<pb::ContentReply>;

/// A replica needs a content: asked again and again until it is there, and after that once in a while.  While it is
/// asked for the content stays.
struct hold_content {
  claim_token holder;
  /// "name@version".
  std::string content;
};

/// How far a content is on this node.
struct content_status {
  enum class phase : std::uint8_t { waiting, ready, failed };
  phase now = phase::waiting;
  /// Directory of its files, when it is ready.
  std::string path;
  /// What is done for it, or why it cannot be had, for people.
  std::string reason;
};

/// Answer of a keeper of contents to (report_atom, requests that the node works on).
struct held_contents {
  /// "name@version" of what is ready, sorted.
  std::vector<std::string> names;
};

/// The replica is gone.
struct release_contents {
  claim_token holder;
};

} // namespace astra
