/* The firewall at run time: lists of addresses, verdicts, rules. */
#include "check.h"

static const char ATTACK[] = "GET /?id=1%27%20UNION%20SELECT%20password%20FROM%20users--%20 HTTP/1.1\r\n"
                             "Host: localhost\r\n\r\n";
static const char QUIET[] = "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";

static char *verdict(nh_server *server, const char *address, const char *request)
{
    char *text = NULL;

    CHECK_OK(nh_firewall_check(server, address, request, NH_ZERO_TERMINATED, &text));
    CHECK(text != NULL && text[0] == '{');
    return text;
}

static void expect_action(nh_server *server, const char *address, const char *request,
                          const char *action)
{
    char wanted[64];
    char *text = verdict(server, address, request);

    snprintf(wanted, sizeof wanted, "\"action\":\"%s\"", action);
    CHECK(strstr(text, wanted) != NULL);
    nh_free(text);
}

static void verdicts(nh_server *server)
{
    char *text = NULL;

    expect_action(server, "192.0.2.7", QUIET, "allow");
    expect_action(server, "192.0.2.7", ATTACK, "block");
    /* Whoever is allowed is not inspected; whoever is denied is kept out. */
    CHECK_OK(nh_firewall_allow(server, "192.0.2.0/24", 0));
    expect_action(server, "192.0.2.7", ATTACK, "allow");
    CHECK_OK(nh_firewall_forget(server, "192.0.2.0/24"));
    expect_action(server, "192.0.2.7", ATTACK, "block");
    CHECK_OK(nh_firewall_deny(server, "2001:db8::/32", 60, "a test"));
    expect_action(server, "2001:db8::7", QUIET, "block");
    CHECK_OK(nh_firewall_forget(server, "2001:db8::/32"));
    expect_action(server, "2001:db8::7", QUIET, "allow");
    CHECK_STATUS(nh_firewall_forget(server, "2001:db8::/32"), NH_ERR_NOT_FOUND);

    CHECK_STATUS(nh_firewall_check(server, "nowhere", QUIET, NH_ZERO_TERMINATED, &text),
                 NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_firewall_check(server, "192.0.2.7", "nonsense", NH_ZERO_TERMINATED, &text),
                 NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_firewall_check(server, "192.0.2.7", QUIET, NH_ZERO_TERMINATED, NULL),
                 NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_firewall_check(NULL, "192.0.2.7", QUIET, NH_ZERO_TERMINATED, &text),
                 NH_ERR_INVALID_ARGUMENT);
    CHECK(text == NULL);
}

static void rules(nh_server *server)
{
    static const char RULE[] = "[[rule]]\nid = \"own.word\"\nscore = 20\nliterals = [\"xyzzy\"]\n"
                               "pattern = \"xyzzy[0-9]+\"\n";
    static const char BROKEN[] = "[[rule]]\nid = \"own.broken\"\nscore = 20\nliterals = [\"a\"]\n"
                                 "pattern = \"(\"\n";
    static const char MAGIC[] = "GET /?word=xyzzy42 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    char *text;

    expect_action(server, "192.0.2.7", MAGIC, "allow");
    CHECK_OK(nh_firewall_add_rule(server, RULE, NH_ZERO_TERMINATED));
    text = verdict(server, "192.0.2.7", MAGIC);
    CHECK(strstr(text, "own.word") != NULL && strstr(text, "\"action\":\"block\"") != NULL);
    nh_free(text);
    /* A rule that cannot be compiled changes nothing, and says where and why. */
    CHECK_STATUS(nh_firewall_add_rule(server, BROKEN, NH_ZERO_TERMINATED),
                 NH_ERR_INVALID_ARGUMENT);
    CHECK(strstr(nh_last_error_message(), "1:1: rule own.broken") != NULL);
    expect_action(server, "192.0.2.7", MAGIC, "block");
    CHECK_STATUS(nh_firewall_add_rule(server, NULL, 1), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_firewall_add_rule(NULL, RULE, NH_ZERO_TERMINATED), NH_ERR_INVALID_ARGUMENT);
}

static void lists(nh_server *server)
{
    CHECK_STATUS(nh_firewall_allow(server, "300.0.0.1", 0), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_firewall_allow(server, NULL, 0), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_firewall_allow(NULL, "10.0.0.0/8", 0), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_firewall_deny(server, "10.0.0.0/33", 0, NULL), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_firewall_deny(NULL, "10.0.0.0/8", 0, NULL), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_firewall_forget(server, ""), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_firewall_forget(NULL, "10.0.0.0/8"), NH_ERR_INVALID_ARGUMENT);
}

/* What was set at run time is saved, and taken up by another server; counts are exported. */
static void kept(nh_server *server)
{
    static const char WORD[] = "GET /?word=abracadabra HTTP/1.1\r\nHost: localhost\r\n\r\n";
    nh_server_options options;
    nh_server *other = NULL;
    char *text = NULL;

    CHECK_OK(nh_firewall_add_csv(server, "abracadabra,10\n", NH_ZERO_TERMINATED));
    expect_action(server, "192.0.2.7", WORD, "block");
    CHECK_STATUS(nh_firewall_add_csv(server, "ab,3\nab;3", NH_ZERO_TERMINATED),
                 NH_ERR_INVALID_ARGUMENT);
    CHECK(strstr(nh_last_error_message(), "2:1:") != NULL);
    CHECK_OK(nh_firewall_deny(server, "203.0.113.0/24", 0, "kept"));
    CHECK_OK(nh_firewall_save(server, &text));
    CHECK(strstr(text, "203.0.113.0/24") != NULL);

    nh_server_options_init(&options, sizeof options);
    options.listen = "127.0.0.1:0";
    options.flags = NH_SERVER_NO_ENV;
    CHECK_OK(nh_server_new(&options, &other));
    expect_action(other, "203.0.113.9", QUIET, "allow");
    expect_action(other, "192.0.2.7", WORD, "allow");
    CHECK_OK(nh_firewall_load(other, text, NH_ZERO_TERMINATED));
    expect_action(other, "203.0.113.9", QUIET, "block");
    expect_action(other, "192.0.2.7", WORD, "block");
    nh_free(text);
    CHECK_STATUS(nh_firewall_load(other, "[[deny]]\nrange = \"x\"\n", NH_ZERO_TERMINATED),
                 NH_ERR_INVALID_ARGUMENT);
    CHECK(strstr(nh_last_error_message(), "1:1:") != NULL);
    nh_server_free(other);

    CHECK_OK(nh_firewall_stats(server, NH_FIREWALL_STATS_JSON, &text));
    CHECK(text[0] == '{' && strstr(text, "\"attacks_blocked\":") != NULL);
    nh_free(text);
    CHECK_OK(nh_firewall_stats(server, NH_FIREWALL_STATS_CSV, &text));
    CHECK(strncmp(text, "metric,value\r\n", 14) == 0);
    nh_free(text);
    CHECK_STATUS(nh_firewall_stats(server, 9, &text), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_firewall_stats(server, NH_FIREWALL_STATS_CSV, NULL), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_firewall_save(server, NULL), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_firewall_save(NULL, &text), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_firewall_load(NULL, "", NH_ZERO_TERMINATED), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_firewall_add_csv(NULL, "", NH_ZERO_TERMINATED), NH_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(nh_firewall_stats(NULL, NH_FIREWALL_STATS_CSV, &text), NH_ERR_INVALID_ARGUMENT);
}

int main(void)
{
    nh_server_options options;
    nh_server *server = NULL;

    nh_server_options_init(&options, sizeof options);
    options.listen = "127.0.0.1:0";
    options.flags = NH_SERVER_NO_ENV;
    CHECK_OK(nh_server_new(&options, &server));
    verdicts(server);
    rules(server);
    lists(server);
    kept(server);
    nh_server_free(server);
    return 0;
}
