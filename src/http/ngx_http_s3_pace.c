
/*
 * How fast a client is: s3_min_rate.  Who holds memory that others wait for is
 * ended where that is less; who keeps nobody waiting is not.
 *
 *     client is waited for   since ......... came     since ... came
 *     time                   |-- ms[0] ----|          |- ms[0] -|
 *     bytes                                bytes[0]             bytes[0]
 *
 * Time counts while the client is what is waited for: a disk or another
 * server makes nobody slow.  Past half of the grace what was counted becomes
 * ms[1] and bytes[1], and is forgotten with the next half: so it is the last
 * half to one and a half graces that count.  Nobody is slow who was waited for
 * less than a grace in all; who is silent for a grace is.
 *
 * Bytes of a body are those that came.  Of an answer they are those that the
 * other end has acknowledged: what the kernel has taken of us may be megabytes,
 * which a slow line takes a minute for.
 */


#include "ngx_http_s3.h"

#include <sys/ioctl.h>
#include <linux/sockios.h>


static off_t ngx_http_s3_pace_taken(ngx_http_request_t *r);
static off_t ngx_http_s3_pace_unsent(ngx_connection_t *c);


void
ngx_http_s3_pace_wait(ngx_http_s3_ctx_t *ctx)
{
    if (!ctx->pace.waiting) {
        ctx->pace.waiting = 1;
        ctx->pace.since = ngx_current_msec;
    }
}


void
ngx_http_s3_pace_came(ngx_http_s3_ctx_t *ctx, off_t bytes)
{
    ngx_msec_t               grace;
    ngx_http_s3_pace_t      *pace;
    ngx_http_s3_loc_conf_t  *lcf;

    pace = &ctx->pace;

    if (pace->waiting) {
        pace->waiting = 0;
        pace->ms[0] += ngx_current_msec - pace->since;
        pace->total += ngx_current_msec - pace->since;
    }

    pace->bytes[0] += bytes;

    lcf = ngx_http_get_module_loc_conf(ctx->request, ngx_http_s3_module);
    grace = lcf->min_rate.grace;

    if (pace->ms[0] < grace / 2) {
        return;
    }

    /* a long silence weighs no more than a grace */

    if (pace->ms[0] > grace) {
        pace->bytes[0] = pace->bytes[0] * (off_t) grace / (off_t) pace->ms[0];
        pace->ms[0] = grace;
    }

    pace->ms[1] = pace->ms[0];
    pace->bytes[1] = pace->bytes[0];
    pace->ms[0] = 0;
    pace->bytes[0] = 0;
}


void
ngx_http_s3_pace_sent(ngx_http_s3_ctx_t *ctx)
{
    off_t                taken, bytes;
    ngx_http_s3_pace_t  *pace;

    pace = &ctx->pace;

    taken = ngx_http_s3_pace_taken(ctx->request);

    if (!pace->sending) {

        /* how fast the request came is another matter */

        ngx_memzero(pace, sizeof(ngx_http_s3_pace_t));

        pace->sending = 1;
        pace->taken = taken;
    }

    bytes = taken - pace->taken;
    pace->taken = taken;

    ngx_http_s3_pace_came(ctx, ngx_max(bytes, 0));
}


int64_t
ngx_http_s3_pace_slow(ngx_http_s3_ctx_t *ctx)
{
    int64_t                  rate;
    ngx_msec_t               ms;
    ngx_http_s3_pace_t      *pace;
    ngx_http_s3_loc_conf_t  *lcf;

    lcf = ngx_http_get_module_loc_conf(ctx->request, ngx_http_s3_module);
    pace = &ctx->pace;

    if (lcf->min_rate.rate == 0 || !pace->waiting) {
        return -1;
    }

    ms = ngx_current_msec - pace->since;

    if (pace->sending) {

        /* nginx itself was told to be slow */

        if (ctx->request->limit_rate
            && ctx->request->limit_rate <= lcf->min_rate.rate)
        {
            return -1;
        }

        ngx_http_s3_pace_sent(ctx);
        ngx_http_s3_pace_wait(ctx);

        ms = 0;
    }

    if (ms >= lcf->min_rate.grace) {
        return 0;
    }

    if (pace->total + ms < lcf->min_rate.grace) {
        return -1;
    }

    ms += pace->ms[0] + pace->ms[1];

    rate = (int64_t) (pace->bytes[0] + pace->bytes[1]) * 1000 / (int64_t) ms;

    return rate < (int64_t) lcf->min_rate.rate ? rate : -1;
}


/* bytes of an answer that have got to the client: a number that grows */

static off_t
ngx_http_s3_pace_taken(ngx_http_request_t *r)
{
    ngx_connection_t  *c;
#if (NGX_HTTP_V2)
    ngx_connection_t  *h2;
#endif

    c = r->connection;

#if (NGX_HTTP_V3)
    if (c->quic) {
        return c->sent;
    }
#endif

#if (NGX_HTTP_V2)

    /*
     * A stream waits for its own window, or all of them wait for the
     * connection, of which each has its share.
     */

    if (r->stream) {
        h2 = r->stream->connection->connection;

        return c->sent + (h2->sent - ngx_http_s3_pace_unsent(h2))
                         / (off_t) (r->stream->connection->processing + 1);
    }

#endif

    return c->sent - ngx_http_s3_pace_unsent(c);
}


static off_t
ngx_http_s3_pace_unsent(ngx_connection_t *c)
{
    int  n;

    return ioctl(c->fd, SIOCOUTQ, &n) == 0 ? n : 0;
}
