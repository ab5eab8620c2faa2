#include "html.h"

#include "base/json.h"
#include "base/outfile.h"
#include "sheet.h"
#include "sweep_plot.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char head[] =
    "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n<title>kvsim "
    "report</title>\n"
    "<style>\n"
    "body{font:15px/1.5 sans-serif;max-width:75em;margin:2em auto;padding:0 1em;color:#222}\n"
    "table{border-collapse:collapse;font-size:13px;margin:1em 0}\n"
    "th,td{border:1px solid #ccc;padding:.25em .6em;text-align:right;white-space:nowrap}\n"
    "th{background:#f2f2f2;cursor:pointer}td.t,th.t{text-align:left}\n"
    "td.w{text-align:left;white-space:normal}\n"
    "figure{margin:1.5em 0}img{max-width:100%}pre{background:#f7f7f7;padding:1em;overflow:auto}\n"
    ".wide{overflow-x:auto}.note{color:#a33}\n</style></head><body>\n";

/* A click on a column's head sorts by it, another one the other way round; so does a link that ends
 * in #TABLE.COLUMN. */
static const char script[] =
    "<script>\n"
    "function sortBy(table,col){\n"
    " const body=table.tBodies[0],rows=[...body.rows],num=t=>t===''?NaN:Number(t);\n"
    " const key=r=>r.cells[col].dataset.v??r.cells[col].textContent;\n"
    " const up=table.dataset.by!==String(col);table.dataset.by=up?col:'';\n"
    " rows.sort((a,b)=>{const x=key(a),y=key(b),p=num(x),q=num(y);\n"
    "  const c=!isNaN(p)&&!isNaN(q)?p-q:isNaN(p)&&isNaN(q)?x.localeCompare(y):isNaN(p)?1:-1;\n"
    "  return up?c:-c});\n"
    " rows.forEach(r=>body.appendChild(r));}\n"
    "document.querySelectorAll('table.s').forEach(t=>[...t.tHead.rows[0].cells].forEach((c,i)=>\n"
    " c.addEventListener('click',()=>sortBy(t,i))));\n"
    "const m=location.hash.match(/^#(\\w+)\\.(\\d+)$/);\n"
    "if(m&&document.getElementById(m[1]))sortBy(document.getElementById(m[1]),+m[2]);\n"
    "</script></body></html>\n";

/* --- pieces ------------------------------------------------------------------------------------
 */

static void put_text(FILE *to, const char *text)
{
    for (; *text; text++)
        switch (*text) {
        case '<':
            fputs("&lt;", to);
            break;
        case '>':
            fputs("&gt;", to);
            break;
        case '&':
            fputs("&amp;", to);
            break;
        case '"':
            fputs("&quot;", to);
            break;
        default:
            fputc(*text, to);
        }
}

static void put_cell(FILE *to, const char *tag, const char *kind, const char *text)
{
    fprintf(to, "<%s%s%s%s>", tag, *kind ? " class=\"" : "", kind, *kind ? "\"" : "");
    put_text(to, text);
    fprintf(to, "</%s>", tag);
}

static void put_base64(FILE *to, const unsigned char *data, size_t n)
{
    static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < n; i += 3) {
        const size_t left = n - i;
        const uint32_t word = (uint32_t)data[i] << 16 |
                              (left > 1 ? (uint32_t)data[i + 1] << 8 : 0) |
                              (left > 2 ? data[i + 2] : 0);
        fputc(digit[word >> 18], to);
        fputc(digit[word >> 12 & 63], to);
        fputc(left > 1 ? digit[word >> 6 & 63] : '=', to);
        fputc(left > 2 ? digit[word & 63] : '=', to);
    }
}

/* The drawing as a picture within the page: no script of it runs, and its ids stay its own. */
static enum kvs_code put_figure(FILE *to, const char *path, const char *name, struct kvs_err *err)
{
    struct stat about;
    FILE *from = fopen(path, "rb");
    unsigned char *data = NULL;
    enum kvs_code code = KVS_OK;
    if (!from || fstat(fileno(from), &about) || !(data = malloc((size_t)about.st_size + 1)) ||
        fread(data, 1, (size_t)about.st_size, from) != (size_t)about.st_size) {
        code = kvs_fail(err, KVS_ERR_IO, "%s: could not be read", path);
    } else {
        fputs("<figure><img alt=\"", to);
        put_text(to, name);
        fputs("\" src=\"data:image/svg+xml;base64,", to);
        put_base64(to, data, (size_t)about.st_size);
        fputs("\"></figure>\n", to);
    }
    free(data);
    if (from)
        fclose(from);
    return code;
}

static int is_svg(const struct dirent *entry)
{
    const size_t n = strlen(entry->d_name);
    return n > 4 && entry->d_name[0] != '.' && strcmp(entry->d_name + n - 4, ".svg") == 0;
}

static enum kvs_code put_figures(FILE *to, const char *dir, struct kvs_err *err)
{
    struct dirent **names = NULL;
    char *folder = NULL;
    enum kvs_code code = KVS_OK;
    if (asprintf(&folder, "%s/plots", dir) < 0)
        return kvs_nomem(err);
    const int n = scandir(folder, &names, is_svg, alphasort);
    if (n <= 0)
        fputs("<p class=\"note\">No figures were drawn: <code>kvsim plot</code> draws them.</p>\n",
              to);
    for (int i = 0; i < n; i++) {
        char *path = NULL;
        if (!code && asprintf(&path, "%s/%s", folder, names[i]->d_name) < 0)
            code = kvs_nomem(err);
        else if (!code)
            code = put_figure(to, path, names[i]->d_name, err);
        free(path);
        free(names[i]);
    }
    free(names);
    free(folder);
    return code;
}

/* --- a run -------------------------------------------------------------------------------------
 */

static const char *str_at(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static void put_number(FILE *to, const json_t *value)
{
    if (json_is_number(value))
        fprintf(to, "<td data-v=\"%.15g\">%.4g</td>", json_number_value(value),
                json_number_value(value));
    else
        fputs("<td></td>", to);
}

static void put_policies(FILE *to, const json_t *policies)
{
    static const struct {
        const char *name, *object, *key;
    } column[] = {
        {"TTFT mean [s]", "ttft_s", "mean"},
        {"TTFT p50 [s]", "ttft_s", "p50"},
        {"TTFT p95 [s]", "ttft_s", "p95"},
        {"TTFT p99 [s]", "ttft_s", "p99"},
        {"TPOT mean [s]", "tpot_s", "mean"},
        {"end to end mean [s]", "e2e_s", "mean"},
        {"goodput [1/s]", NULL, "goodput_req_per_s"},
        {"in SLO", NULL, "in_slo_frac"},
        {"GPU busy", "gpu", "busy_frac"},
        {"loaded [bytes]", NULL, "load_bytes"},
        {"written [bytes]", NULL, "write_bytes"},
    };
    size_t i;
    json_t *policy;
    fputs("<div class=\"wide\"><table class=\"s\" id=\"policies\"><thead><tr>", to);
    put_cell(to, "th", "t", "policy");
    for (size_t k = 0; k < sizeof column / sizeof *column; k++)
        put_cell(to, "th", "", column[k].name);
    put_cell(to, "th", "t", "verdict");
    fputs("</tr></thead><tbody>\n", to);
    json_array_foreach((json_t *)policies, i, policy)
    {
        fputs("<tr>", to);
        put_cell(to, "td", "t", str_at(policy, "policy"));
        for (size_t k = 0; k < sizeof column / sizeof *column; k++)
            put_number(to,
                       json_object_get(column[k].object ? json_object_get(policy, column[k].object)
                                                        : policy,
                                       column[k].key));
        put_cell(to, "td", "t", str_at(policy, "verdict"));
        fputs("</tr>\n", to);
    }
    fputs("</tbody></table></div>\n", to);
}

static void put_sources(FILE *to, const json_t *figures)
{
    size_t i;
    json_t *figure;
    fputs("<div class=\"wide\"><table class=\"s\" id=\"sources\"><thead><tr>", to);
    put_cell(to, "th", "t", "figure");
    put_cell(to, "th", "", "value (SI)");
    put_cell(to, "th", "t", "source");
    put_cell(to, "th", "t", "reference");
    fputs("</tr></thead><tbody>\n", to);
    json_array_foreach((json_t *)figures, i, figure)
    {
        fputs("<tr>", to);
        put_cell(to, "td", "t", str_at(figure, "figure"));
        put_number(to, json_object_get(figure, "value"));
        put_cell(to, "td", "t", str_at(figure, "source"));
        put_cell(to, "td", "w", str_at(figure, "ref"));
        fputs("</tr>\n", to);
    }
    fputs("</tbody></table></div>\n", to);
}

static enum kvs_code open_doc(const char *dir, const char *name, struct kvs_doc **doc,
                              struct kvs_err *err)
{
    char *file = NULL;
    if (asprintf(&file, "%s/%s", dir, name) < 0)
        return kvs_nomem(err);
    enum kvs_code code = kvs_doc_open(file, doc, err);
    free(file);
    return code;
}

static enum kvs_code put_run(FILE *to, const char *dir, struct kvs_err *err)
{
    struct kvs_doc *summary = NULL, *workload = NULL;
    enum kvs_code code = open_doc(dir, "summary.json", &summary, err);
    if (!code && !(code = open_doc(dir, "workload.json", &workload, err))) {
        const json_t *root = kvs_doc_root(summary).v;
        const json_t *sources = json_object_get(root, "hardware_figures");
        fputs("<h1>", to);
        put_text(to, str_at(root, "workload"));
        fputs("</h1>\n<p>", to);
        put_text(to, str_at(root, "about"));
        fputs("</p>\n<p><b>Simulated</b>, ", to);
        put_text(to, str_at(root, "model"));
        fputs(" on ", to);
        put_text(to, str_at(root, "hardware"));
        fputs(".</p>\n<h2>In words</h2>\n<p>", to);
        put_text(to, str_at(root, "answer"));
        fputs("</p>\n<h2>Policies</h2>\n", to);
        put_policies(to, json_object_get(root, "policies"));
        fputs("<h2>Figures</h2>\n", to);
        code = put_figures(to, dir, err);
        fputs("<h2>What it rests on</h2>\n<p>Every figure of the machine, with its source.</p>\n",
              to);
        put_sources(to, json_object_get(sources, "figures"));
        char *text = kvs_doc_dump(workload);
        fputs("<h2>Settings</h2>\n<pre>", to);
        put_text(to, text ? text : "");
        fputs("</pre>\n", to);
        free(text);
    }
    kvs_doc_free(summary);
    kvs_doc_free(workload);
    return code;
}

/* --- a sweep -----------------------------------------------------------------------------------
 */

static void put_sheet(FILE *to, const struct kvs_sheet *sheet)
{
    fputs("<div class=\"wide\"><table class=\"s\" id=\"points\"><thead><tr>", to);
    for (unsigned i = 0; i < sheet->n_col; i++)
        put_cell(to, "th", "", sheet->col[i]);
    fputs("</tr></thead><tbody>\n", to);
    for (uint64_t row = 0; row < sheet->n_row; row++) {
        fputs("<tr>", to);
        for (unsigned i = 0; i < sheet->n_col; i++)
            put_cell(to, "td", isnan(kvs_sheet_num(sheet, row, (int)i)) ? "t" : "",
                     kvs_sheet_str(sheet, row, (int)i));
        fputs("</tr>\n", to);
    }
    fputs("</tbody></table></div>\n", to);
}

static enum kvs_code put_sweep(FILE *to, const char *dir, struct kvs_err *err)
{
    struct kvs_sheet *sheet = NULL;
    char *file = NULL;
    if (asprintf(&file, "%s/results.csv", dir) < 0)
        return kvs_nomem(err);
    enum kvs_code code = kvs_sheet_open(file, &sheet, err);
    if (!code) {
        const int status = kvs_sheet_col(sheet, "status");
        uint64_t n_failed = 0;
        for (uint64_t row = 0; row < sheet->n_row; row++)
            n_failed += strcmp(kvs_sheet_str(sheet, row, status), "ok") != 0;
        fputs("<h1>Sweep ", to);
        put_text(to, dir);
        fprintf(to,
                "</h1>\n<p><b>Simulated</b>: %llu rows, of which %llu are points that failed; "
                "their <code>status</code> says why.</p>\n<h2>Figures</h2>\n",
                (unsigned long long)sheet->n_row, (unsigned long long)n_failed);
        code = put_figures(to, dir, err);
        fputs("<h2>Points</h2>\n", to);
        put_sheet(to, sheet);
    }
    kvs_sheet_free(sheet);
    free(file);
    return code;
}

enum kvs_code kvs_html_report(const char *dir, const char *file, struct kvs_err *err)
{
    struct kvs_outfile *out = NULL;
    enum kvs_code code = kvs_outfile_begin(file, &out, err);
    if (code)
        return code;
    FILE *to = kvs_outfile_stream(out);
    fputs(head, to);
    code = kvs_sweep_plot_has(dir) ? put_sweep(to, dir, err) : put_run(to, dir, err);
    fputs(script, to);
    if (!code)
        return kvs_outfile_commit(out, err);
    kvs_outfile_abort(out);
    return code;
}
