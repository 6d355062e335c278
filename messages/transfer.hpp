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
  /// It begins with what is there, and reads through the keeper (read_content).
  bool stream = false;
};

/// How far a content is on this node.
struct content_status {
  enum class phase : std::uint8_t {
    waiting,
    /// Asked for to stream, and known what it consists of: its files can be read at `url`.
    streams,
    ready,
    failed,
  };
  phase now = phase::waiting;
  /// Directory of its files, when it is ready; when it streams, where it will be.
  std::string path;
  /// Where its files can be read while they come, when it streams or is ready; empty: nowhere.
  std::string url;
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

/// A replica that needs these may come to this node: "name@version".  Asked again until they are here.
struct prefetch_contents {
  std::string app;
  std::vector<std::string> contents;
};

/// A part of a file of a content, whose pieces come before others.  Fails with unreachable after seconds: ask again.
struct read_content {
  /// "name@version", or the content's address in hex.
  std::string content;
  /// Of the file in the content, with '/'; for a content of one file its name.  Empty: only which content it is.
  std::string file;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
};

/// What can be read now.
struct content_extent {
  /// Where the file is.  Of no file: the content's address in hex, with the size of all.
  std::string path;
  std::uint64_t size = 0;
  /// From the offset that was asked for; 0 at the end of the file, or when nothing was asked for.
  std::uint64_t length = 0;
};

} // namespace astra
