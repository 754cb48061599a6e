/* The least that a driver can do: print one reply. What is left is what exec itself costs. */
#include <unistd.h>

int main(void)
{
    static const char reply[] = "{\"status\":\"Success\"}\n";
    return write(1, reply, sizeof reply - 1) == (ssize_t)(sizeof reply - 1) ? 0 : 1;
}
