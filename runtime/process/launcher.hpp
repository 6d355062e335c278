#pragma once

namespace astra {

/// Descriptor under which start_launcher passes the socket to the launcher process.
inline constexpr int launcher_socket = 3;

/// The launcher process: starts what its agent tells it over the socket, does all input and output, keeps limits, and
/// reports each end once the whole tree is gone.  One thread.  When the socket closes, because the agent said so or
/// died, it kills every tree and returns.
/// @returns the exit status of the process.
int launcher_main(int socket_fd);

} // namespace astra
