#pragma once

#include "config/options.hpp"

#include <map>
#include <string>

namespace astra::schema {
class ProcessFile;
} // namespace astra::schema

// Between the message of a process's file and the option structs.  One list pairs their fields, for both ways.

namespace astra {

/// The file that says all the defaults of the option structs, and nothing else.
schema::ProcessFile default_process_file();

/// The file that says all these options but the lists, the labels and [caf].
schema::ProcessFile to_file(process_options options);

/// What the file says; fields that it lacks keep the defaults of the structs.
process_options to_options(const schema::ProcessFile& file);

/// Keys of CAF that exist and that an operator must not set, with what to do instead.
const std::map<std::string, std::string>& reserved_keys();

} // namespace astra
