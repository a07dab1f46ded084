#pragma once
/* A client and a played TLS server in the simulated world, ready to connect. */
#include "tests/unit/engine/net/certs.h"
#include "tests/unit/engine/net/client.h"
#include "tests/unit/engine/net/tls_server.h"
#include "tests/unit/engine/ring/bodies.h"

static struct certs certs;

static struct rig rig;
static struct tls_server server;
static struct tls_context *trusting, *verifying;
static struct client client;
static struct sockaddr_in address;

static inline void make_certs(void)
{
    certs_make(&certs);
}

static inline void remove_certs(void)
{
    certs_remove(&certs);
}

static inline struct tls_context *context_with(struct tls_context_options options)
{
    struct tls_context *context;
    struct err err;
    if (!tls_context_create(&context, &options, &err))
        ck_abort_msg("%s", err.text);
    return context;
}

static inline void setup(void)
{
    rig = rig_on(BODY_SIM);
    address = loopback(25);
    server = (struct tls_server){ .certificate = certs.mx,
                                  .key = certs.mx_key,
                                  .greeting = "220 hello\r\n" };
    tls_server_prepare(&server);
    ring_sim_listen(rig.sim, (struct sockaddr *)&address, sizeof address, &tls_server_handlers,
                    &server);
    trusting = context_with((struct tls_context_options){ .verify = TLS_VERIFY_NONE });
    verifying = context_with(
        (struct tls_context_options){ .verify = TLS_VERIFY_NAME, .ca_file = certs.ca });
    client_init(&client, rig.ring);
}

static inline void run(void)
{
    ring_sim_run_until(rig.ring, NULL, NULL); /* until nothing is left */
}

static inline void finish_client(void)
{
    if (client.closed == 0)
        client_close(&client, false);
    run();
    client_free(&client);
}

static inline void teardown(void)
{
    finish_client();
    tls_context_destroy(&trusting);
    tls_context_destroy(&verifying);
    tls_server_free(&server);
    rig_free(&rig);
}

static inline void connect_with(struct tls_context *context, const char *name)
{
    client.tls.context = context;
    client.tls.server_name = name;
    client.tls.ticket = client_on_ticket;
    client.tls.ticket_user = &client;
    client.tls_at_once = true;
    client_connect(&client, &address, sizeof address);
    run();
}

/* A second connection that offers the first one's last ticket. */
static inline void connect_again_with(struct tls_context *context, const char *name)
{
    struct tls_ticket *ticket = client.ticket;
    client.ticket = NULL;
    ck_assert_ptr_nonnull(ticket);
    finish_client();
    client_init(&client, rig.ring);
    client.tls.resume = ticket;
    connect_with(context, name);
}

static inline struct tls_facts facts(void)
{
    struct tls_facts out;
    ck_assert(stream_tls_facts(&client.stream, &out));
    return out;
}

static inline void check_failed(const char *text)
{
    ck_assert_uint_eq(client.heard[ON_ENDED], 1);
    ck_assert_int_eq(client.failure.end, STREAM_END_TLS_FAILED);
    ck_assert_str_eq(client.failure.text, text);
    struct tls_facts out;
    ck_assert(!stream_secure(&client.stream) && !stream_tls_facts(&client.stream, &out));
}

/** A case whose tests start from setup(). */
static inline TCase *tls_case(void)
{
    TCase *tcase = tcase_create("simulation");
    tcase_add_unchecked_fixture(tcase, make_certs, remove_certs);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 0);
    return tcase;
}
