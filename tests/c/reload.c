/* A configuration that changes while the server runs: read anew from its file, and set key by key.
 * What the program has registered stays; a bad file changes nothing. */
#include "check.h"

static char file[128];

static void write_file(const char *text)
{
    FILE *out = fopen(file, "w");

    CHECK(out != NULL);
    CHECK(fputs(text, out) >= 0);
    CHECK(fclose(out) == 0);
}

static nh_status fine(nh_request *request, nh_response *response, void *user_data)
{
    nh_server *server = user_data;

    (void)request;
    /* On the loop nothing may block. */
    CHECK_STATUS(nh_server_reload(server), NH_ERR_STATE);
    CHECK_STATUS(nh_server_set(server, "limits.body", "100"), NH_ERR_STATE);
    return nh_response_send(response, 200, "text/plain", "fine", NH_ZERO_TERMINATED);
}

static int status_of_post(nh_server *server, size_t bytes)
{
    static char body[4096];

    CHECK(bytes < sizeof body);
    memset(body, 'x', bytes);
    body[bytes] = '\0';
    return status_of(ask(server, "POST", "/fine", body));
}

/* A program with one thread changes the configuration between two polls. */
static void attached(void)
{
    nh_server *server = quiet_server();
    const char *request = "GET /a-long-path-that-is-refused-now-because-it-is-longer HTTP/1.1\r\n"
                          "Host: localhost\r\nConnection: close\r\n\r\n";
    int fd, client, turn;

    CHECK_OK(nh_server_attach(server, &fd));
    CHECK_OK(nh_server_poll(server, 0, NULL));
    CHECK_OK(nh_server_set(server, "limits.request_line", "64"));
    client = dial(server);
    say(client, request);
    for (turn = 0; turn < 1000 && poll(&(struct pollfd){.fd = client, .events = POLLIN}, 1, 1) == 0;
         turn++)
        CHECK_OK(nh_server_poll(server, 10, NULL));
    CHECK(status_of(hear(client)) == 414);
    nh_server_free(server);
}

int main(void)
{
    nh_server_options options;
    nh_server *server;

    snprintf(file, sizeof file, "/tmp/neurohttp-reload-%d.toml", (int)getpid());
    write_file("[limits]\nbody = 1000\n");
    nh_server_options_init(&options, sizeof options);
    options.config_file = file;
    options.config_text = "[timeouts]\nidle = 4000\n";
    options.listen = "127.0.0.1:0";
    options.workers = 2;
    options.flags = NH_SERVER_NO_ENV;
    options.log = no_log;
    CHECK_OK(nh_server_new(&options, &server));
    CHECK_OK(nh_server_route(server, "*", "/fine", 0, fine, server, NULL));
    CHECK_OK(nh_server_reload(server)); /* before the start too */
    CHECK_OK(nh_server_start(server));
    CHECK(status_of_post(server, 900) == 200);
    CHECK(status_of_post(server, 1001) == 413);

    /* The file has changed. */
    write_file("[limits]\nbody = 500\n");
    CHECK(status_of_post(server, 900) == 200);
    CHECK_OK(nh_server_reload(server));
    CHECK(status_of_post(server, 900) == 413);
    CHECK(status_of_post(server, 400) == 200);

    /* What is wrong with it is told with its place, and changes nothing. */
    write_file("[limits]\nbody = 700\nfrob = 1\n");
    CHECK_STATUS(nh_server_reload(server), NH_ERR_CONFIG);
    CHECK(strstr(nh_last_error_message(), ".toml:3:1: ") != NULL);
    CHECK(status_of_post(server, 600) == 413);
    write_file("[limits]\nbody = 7"); /* half-written */
    CHECK_STATUS(nh_server_reload(server), NH_ERR_CONFIG);
    CHECK(status_of_post(server, 400) == 200);

    /* What is set stands over the file and is kept. */
    write_file("[limits]\nbody = 500\n");
    CHECK_OK(nh_server_set(server, "limits.body", "2000"));
    CHECK(status_of_post(server, 1900) == 200);
    write_file("[limits]\nbody = 300\n");
    CHECK_OK(nh_server_reload(server));
    CHECK(status_of_post(server, 1900) == 200);
    CHECK_STATUS(nh_server_set(server, "limits.body", "many"), NH_ERR_CONFIG);
    CHECK_STATUS(nh_server_set(server, "limits.frob", "1"), NH_ERR_CONFIG);
    CHECK_STATUS(nh_server_set(server, NULL, "1"), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_server_set(server, "limits.body", NULL), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_server_reload(NULL), NH_ERR_INVALID_ARGUMENT);
    CHECK(status_of_post(server, 1900) == 200);

    nh_server_stop(server);
    CHECK_OK(nh_server_wait(server, 10000));
    CHECK_STATUS(nh_server_reload(server), NH_ERR_STATE);
    nh_server_free(server);
    CHECK(unlink(file) == 0);
    attached();
    return 0;
}
