/* Option structs of other sizes, flags and texts that mean nothing, and the log callback. */
#include "check.h"

static atomic_int lines;

static void count_lines(int32_t level, const char *message, size_t len, void *user_data)
{
    CHECK(level >= 0 && level <= 10);
    CHECK(message[len] == '\0' && strlen(message) == len && strchr(message, '\n') == NULL);
    atomic_fetch_add((atomic_int *)user_data, 1);
}

static nh_status new_with(const nh_server_options *options)
{
    nh_server *server = NULL;
    nh_status status = nh_server_new(options, &server);

    CHECK((status == NH_OK) == (server != NULL));
    nh_server_free(server);
    return status;
}

static void sizes(void)
{
    union {
        nh_server_options options;
        unsigned char bytes[8192];
    } space;
    size_t size;

    /* The init of an older program writes no further than its own struct. */
    memset(space.bytes, 0xa5, sizeof space.bytes);
    nh_server_options_init(&space.options, 16);
    CHECK(space.options.struct_size == 16 && space.options.config_file == NULL);
    for (size = 16; size < sizeof space.bytes; size++)
        CHECK(space.bytes[size] == 0xa5);
    CHECK_OK(new_with(&space.options));

    memset(space.bytes, 0, sizeof space.bytes);
    space.options.flags = NH_SERVER_NO_ENV;
    for (size = 0; size < 8; size++) {
        space.options.struct_size = size;
        CHECK_STATUS(new_with(&space.options), NH_ERR_INVALID_ARGUMENT);
    }
    for (size = 8; size <= sizeof(nh_server_options); size += 8) {
        space.options.struct_size = size;
        CHECK_OK(new_with(&space.options));
    }
    /* A newer program's struct: what we do not know must be zero. */
    space.options.struct_size = 4096;
    CHECK_OK(new_with(&space.options));
    space.bytes[4095] = 1;
    CHECK_STATUS(new_with(&space.options), NH_ERR_UNSUPPORTED);
    space.options.struct_size = 4095;
    CHECK_OK(new_with(&space.options));
    space.options.struct_size = 4097;
    CHECK_STATUS(new_with(&space.options), NH_ERR_INVALID_ARGUMENT);
    space.options.struct_size = SIZE_MAX;
    CHECK_STATUS(new_with(&space.options), NH_ERR_INVALID_ARGUMENT);
}

static void values(void)
{
    nh_server_options options = quiet_options();
    unsigned bit;

    for (bit = 2; bit < 32; bit++) {
        options.flags = 1u << bit;
        CHECK_STATUS(new_with(&options), NH_ERR_UNSUPPORTED);
    }
    options = quiet_options();
    options.listen = "not an address";
    CHECK_STATUS(new_with(&options), NH_ERR_CONFIG);
    options = quiet_options();
    options.config_file = "/no/such/file.toml";
    CHECK_STATUS(new_with(&options), NH_ERR_CONFIG);
    CHECK(strstr(nh_last_error_message(), "/no/such/file.toml") != NULL);
    options = quiet_options();
    options.config_text = "[server]\nworkers = \"many\"\n";
    CHECK_STATUS(new_with(&options), NH_ERR_CONFIG);
    CHECK(strstr(nh_last_error_message(), ":2:") != NULL); /* the line is named */
    options.config_text = "[server]\nworkerz = 1\n";
    CHECK_STATUS(new_with(&options), NH_ERR_CONFIG);
    CHECK(strstr(nh_last_error_message(), "workerz") != NULL);
    options.config_text = "[limits]\nbody = 1000\n";
    CHECK_OK(new_with(&options));
}

static void logs(void)
{
    nh_server_options options = quiet_options();
    atomic_int drops = 0;
    nh_server *server;

    options.log = count_lines;
    options.log_user_data = &lines;
    CHECK_OK(nh_server_new(&options, &server));
    CHECK_OK(nh_server_start(server));
    CHECK(status_of(get(server, "/health")) == 200);
    nh_server_free(server);
    CHECK(atomic_load(&lines) > 0); /* at least where it listens */

    options.log = no_log;
    options.log_user_data = &drops;
    options.log_drop = count_up;
    CHECK_OK(new_with(&options));
    CHECK(atomic_load(&drops) == 1);
    options.listen = "not an address";
    CHECK_STATUS(new_with(&options), NH_ERR_CONFIG);
    CHECK(atomic_load(&drops) == 2); /* also when the server could not be made */
}

static void defaults(void)
{
    nh_server *server = NULL;

    CHECK_OK(nh_server_new(NULL, &server));
    nh_server_free(server);
}

int main(void)
{
    sizes();
    values();
    logs();
    defaults();
    return 0;
}
