#pragma once

#include "actors/scheduler/claim_chain.hpp"
#include "actors/scheduler/claim_store.hpp"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace astra {

/// Claim logs as files, `claims/APP.log` in a process's state directory: records in Protobuf's own framing, each behind
/// its length as a varint, so that the very bytes are there that were hashed.  A file begins with an anchor, a record
/// that has only the number and the hash of the last one before it.
///
/// A file that has reached `keep_bytes` becomes APP.log.1, in place of the one before, so that at least this much is
/// kept and at most twice as much.  Written without fsync: what was appended survives the death of the process, and not
/// always the loss of power.  What is no whole record at the end of a file, as kill -9 or a full disk leave it, or
/// behind a damaged byte, is moved to APP.log.cut-N when the log is opened, with a line in the log of the process and a
/// record in its place; N is the number of that one.
/// @param keep_bytes at least 4096.
std::unique_ptr<claim_store> open_claim_files(const std::filesystem::path& state_dir, std::uint64_t keep_bytes);

/// Reads the records of one file into a checker.
/// @returns what is wrong with which record; empty: nothing.
std::string check_claim_file(const std::filesystem::path& path, claim_checker& checker);

} // namespace astra
