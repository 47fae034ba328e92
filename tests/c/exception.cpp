// A C++ exception leaves a handler: the process ends, and nobody takes it for a success.
#include <neurohttp.h>

#include <arpa/inet.h>
#include <cstdio>
#include <cstring>
#include <netinet/in.h>
#include <stdexcept>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static nh_status throwing(nh_request *, nh_response *response, void *)
{
    nh_response_send(response, 200, "text/plain", "half done", NH_ZERO_TERMINATED);
    throw std::runtime_error("on purpose");
}

int main()
{
    const struct rlimit no_core = {0, 0};
    nh_server_options options;
    nh_server *server = nullptr;

    setrlimit(RLIMIT_CORE, &no_core);
    nh_server_options_init(&options, sizeof options);
    options.listen = "127.0.0.1:0";
    options.flags = NH_SERVER_NO_ENV;
    if (nh_server_new(&options, &server) != NH_OK ||
        nh_server_route(server, "GET", "/", 0, throwing, nullptr, nullptr) != NH_OK ||
        nh_server_start(server) != NH_OK)
        return 1;

    struct sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(nh_server_port(server));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    const char request[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    char answer[256];
    if (connect(fd, reinterpret_cast<struct sockaddr *>(&address), sizeof address) != 0 ||
        write(fd, request, std::strlen(request)) < 0)
        return 2;
    return read(fd, answer, sizeof answer) > 0 ? 3 : 4; // neither an answer nor a lost connection
}
