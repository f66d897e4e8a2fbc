/* The rules of layout. The formats are the families' (fim.c); what they leave open is decided here. */
#include "context/fim_layout.h"

#include <string.h>

#include "base/buf.h"
#include "context/fim_family.h"

/* True if prompts of this model name files in a format of their own. */
static bool has_file_format(const struct fim_family *row, bool has_file)
{
    if (row->files == FIM_FILES_AS_TEXT) return false;
    return has_file || (row->file_mark && row->files != FIM_FILES_BETWEEN);
}

void fim_layout_init(struct fim_layout *l, const struct fim *f, const struct fim_input *in, bool has_repo,
                     bool has_file)
{
    bool is_text = !has_file_format(f->row, has_file);
    *l = (struct fim_layout){.f = f,
                             .in = in,
                             .has_repo = has_repo && !is_text,
                             .has_file = has_file,
                             .is_text = is_text,
                             .is_inside = is_text || f->row->files == FIM_FILES_IN_PREFIX};
}

/* ---- What stands before the window ---- */

static enum err add_str(const struct fim_writer *w, const char *text)
{
    return text ? w->text(w->ctx, text, strlen(text)) : OK;
}

static enum err add_file_mark(const struct fim_layout *l, const struct fim_writer *w)
{
    if (l->has_file) return w->mark(w->ctx, l->f->file, l->f->row->file);
    return add_str(w, l->f->row->file_mark);
}

/* A line that names a file, as the family writes it. */
static enum err add_file_name(const struct fim_layout *l, const char *path, const struct fim_writer *w)
{
    enum err err = l->f->row->files == FIM_FILES_BETWEEN ? OK : add_file_mark(l, w);
    if (!err) err = add_str(w, path);
    return err ? err : add_str(w, "\n");
}

static bool ends_line(const struct fim_file *file)
{
    return file->text_len > 0 && file->text[file->text_len - 1] == '\n';
}

static enum err add_file(const struct fim_layout *l, const struct fim_file *file, const struct fim_writer *w)
{
    const struct fim_family *row = l->f->row;
    enum err err = add_file_name(l, file->path, w);
    if (!err) err = w->text(w->ctx, file->text, file->text_len);
    if (!err && !ends_line(file)) err = add_str(w, "\n");
    if (!err) err = add_str(w, row->file_gap);
    return !err && row->files == FIM_FILES_BETWEEN ? add_file_mark(l, w) : err;
}

/* For a model that knows no format: one text, as it might stand in a file. */
static enum err add_as_text(const struct fim_layout *l, enum fim_header_part part,
                            const struct fim_file *file, const struct fim_writer *w)
{
    const char *comment = l->in->line_comment ? l->in->line_comment : "#";
    struct buf text;
    buf_init(&text, file->text_len + strlen(file->path) + strlen(comment) + 8);
    buf_printf(&text, "%s %s\n", comment, file->path);
    if (part == FIM_HEADER_FILE) {
        buf_add(&text, file->text, file->text_len);
        buf_add_str(&text, ends_line(file) ? "\n" : "\n\n");
    }
    enum err err = text.err ? text.err : w->text(w->ctx, text.data, text.len);
    buf_clear(&text);
    return err;
}

static enum err add_repo(const struct fim_layout *l, const char *name, const struct fim_writer *w)
{
    enum err err = w->mark(w->ctx, l->f->repo, l->f->row->repo);
    if (!err) err = add_str(w, name);
    return err ? err : add_str(w, "\n");
}

enum err fim_layout_part(const struct fim_layout *l, enum fim_header_part part, const struct fim_file *file,
                         const struct fim_writer *w)
{
    if (l->is_text) return add_as_text(l, part, file, w);
    if (part == FIM_HEADER_REPO) return add_repo(l, file->path, w);
    return part == FIM_HEADER_NAME ? add_file_name(l, file->path, w) : add_file(l, file, w);
}

/* The first of the other files that is shown: as many of the nearest as fit into max. */
static enum err choose_files(const struct fim_layout *l, size_t max, const struct fim_header_writer *w,
                             int32_t *first)
{
    enum err err = OK;
    size_t size;
    for (*first = l->in->n_files; *first > 0 && !err; --*first) {
        err = w->measure(w->ctx, FIM_HEADER_FILE, &l->in->files[*first - 1], max, &size);
        if (err || size > max) break;
        max -= size;
    }
    return err;
}

/* What a name takes; 0: it is not shown. */
static enum err measure_name(enum fim_header_part part, const struct fim_file *name, size_t most,
                             const struct fim_header_writer *w, size_t *size)
{
    *size = 0;
    enum err err = name->path ? w->measure(w->ctx, part, name, most, size) : OK;
    if (*size > most) *size = 0;
    return err;
}

enum err fim_layout_header(const struct fim_layout *l, size_t room, const struct fim_header_writer *w)
{
    const struct fim_input *in = l->in;
    const struct fim_file repo = {.path = l->has_repo ? in->repo : NULL};
    const struct fim_file name = {.path = l->is_text && in->n_files == 0 ? NULL : in->path};
    size_t n_repo = 0, n_name;
    int32_t first = in->n_files;
    enum err err = measure_name(FIM_HEADER_NAME, &name, room / 4, w, &n_name);
    if (!err) err = measure_name(FIM_HEADER_REPO, &repo, room / 4, w, &n_repo);
    if (!err) err = choose_files(l, room / 2 - n_name - n_repo, w, &first);
    if (!err && n_repo > 0) err = w->write(w->ctx, FIM_HEADER_REPO, &repo);
    for (int32_t i = first; !err && i < in->n_files; i++)
        err = w->write(w->ctx, FIM_HEADER_FILE, &in->files[i]);
    bool is_named = n_name > 0 && (!l->is_text || first < in->n_files);
    return !err && is_named ? w->write(w->ctx, FIM_HEADER_NAME, &name) : err;
}

/* ---- The whole ---- */

int32_t fim_layout_slots(const struct fim_layout *l, enum fim_slot out[FIM_MAX_SLOTS])
{
    int32_t n = 0;
    bool is_fim = l->f->order != FIM_PREFIX_ONLY;
    if (is_fim && !l->is_inside) out[n++] = FIM_SLOT_HEADER;
    if (l->f->order == FIM_SPM) {
        out[n++] = FIM_SLOT_SUFFIX_MARK;
        out[n++] = FIM_SLOT_SUFFIX;
    }
    if (is_fim) out[n++] = FIM_SLOT_PREFIX_MARK;
    if (!is_fim || l->is_inside) out[n++] = FIM_SLOT_HEADER;
    out[n++] = FIM_SLOT_PREFIX;
    if (l->f->order == FIM_PSM) {
        out[n++] = FIM_SLOT_SUFFIX_MARK;
        out[n++] = FIM_SLOT_SUFFIX;
    }
    if (is_fim) out[n++] = FIM_SLOT_MIDDLE_MARK;
    return n;
}
