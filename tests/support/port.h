#pragma once
/* Ports for the servers that a test starts. */

/** A port that is free now on 127.0.0.1 for TCP and UDP. It lies below those that the kernel gives to
 * outgoing connections, so that no client of a test beside this one takes it before the server does.
 * Ends the test if there is none. */
int test_port(void);
