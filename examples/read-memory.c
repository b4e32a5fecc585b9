/* SPDX-License-Identifier: Apache-2.0 */
/* Prints 64 bytes of another host's memory: read-memory udp:192.0.2.2:7100/ssd0 0x100000 */
#include <farbus/dma.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
	unsigned char buf[64];
	struct fb_rdma *host;
	int err;

	if (argc != 3 || fb_rdma_open(&host, &(struct fb_rdma_config){.target = argv[1], .log = FB_RDMA_LOG_ERRORS}))
		return 2;
	err = fb_rdma_read(host, strtoull(argv[2], NULL, 0), buf, sizeof(buf));
	if (err)
		fprintf(stderr, "%s\n", fb_rdma_error(host));
	else
		fwrite(buf, 1, sizeof(buf), stdout);
	fb_rdma_close(host);
	return err != 0;
}
