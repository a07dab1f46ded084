#include "bench/sink/sink.h"

int main(int argc, char **argv)
{
    return sink_main(argc, argv);
}
