"""Rubrika from Python: an index of labelled products, with every operation of the command line as a method."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rubrika import inputs
from rubrika.encode.text import Backend, Pooling
from rubrika.errors import ParameterError
from rubrika.files import check_outputs, check_table, report_folder
from rubrika.index.folder import Choice, has_index, writing
from rubrika.index.folder import Index as Opened
from rubrika.index.location import CACHE, Location
from rubrika.index.manifest import IMAGE, TEXT, Manifest
from rubrika.index.owned import Owned
from rubrika.index.published import write_manifest
from rubrika.ingest.audit import AuditReport, write_audit
from rubrika.ingest.calibrate import refitted
from rubrika.ingest.check import Checked, check
from rubrika.ingest.ingest import ingest
from rubrika.ingest.maintain import Deleted, Relearned, delete, relearn
from rubrika.ingest.move import Moved, Published, RolledBack, move_index, publish_index, rollback
from rubrika.ingest.naming import Categories, list_categories, name_categories
from rubrika.ingest.relabel import Relabelled, correct, relabel, relabel_from
from rubrika.ingest.write import IngestReport
from rubrika.inputs import (
    Place,
    Vote,
    choice_of,
    columns_of,
    count_of,
    location_of,
    paths_of,
    person_of,
    pictures_of,
    products_of,
)
from rubrika.products.images import unmatched
from rubrika.products.reader import Reader
from rubrika.products.rejects import default_reject_path, write_rejects
from rubrika.progress import Progress, Silent
from rubrika.retrieve.classify import check_level, classify
from rubrika.retrieve.drift import RUNS
from rubrika.retrieve.explain import Explanation, explain
from rubrika.retrieve.export import Exported, export
from rubrika.retrieve.guarantee import Policy, advice
from rubrika.retrieve.info import Info, info_of
from rubrika.retrieve.monitor import append_run
from rubrika.retrieve.predictions import (
    ClassifyReport,
    Outputs,
    Predictions,
    classify_to_files,
    collect,
    policy_of,
    redecide,
)
from rubrika.retrieve.ray import Ray, classify_on_ray
from rubrika.retrieve.search import Neighbours, Query, neighbours
from rubrika.store.connection import ServerOptions

if TYPE_CHECKING:
    from rubrika.eval.evaluate import Evaluation
    from rubrika.eval.tune import Tuned
    from rubrika.inputs import ColumnNames, Files, Source


MAX_ERROR, CONFIDENCE, NEW_RATE = Policy.max_error, Policy.certainty, Policy.new_rate


class Index:
    """An index folder, or one whose points are on a Qdrant server.

    Open it with `Index.open`, best in a `with` block. Any number of processes may read it: each has what was there when
    it opened the index; after `close`, the next call opens it again. What goes wrong is a RubrikaError of one sentence.

    These arguments are the same everywhere: `images` is the folder of the products' pictures, each named by its
    product_id; `top_k` is how many hits vote, by default the index's setting; `max_error` is the maximum error rate
    among automatic decisions, and `new_rate` that of known products flagged as new, both kept with the probability
    `confidence`; `holdout` is the part of the products held out, whole groups of rows alike in the column
    `group_by` where one is named; `seed` chooses what is drawn at random.
    """

    def __init__(self, at: Location, progress: Progress | None = None) -> None:
        self.at, self._progress = at, progress or Silent()
        self._opened: Opened | None = None

    @classmethod
    def open(
        cls,
        folder: Place | None = None,
        *,
        url: str | None = None,
        collection: str | None = None,
        api_key: str | None = None,
        cache: Place = CACHE,
        ca_cert: Place | None = None,
        progress: Progress | None = None,
    ) -> "Index":
        """Open an index; where there is none yet, the first `ingest` makes it.

        Args:
            folder: the index folder, which has encoders though a server has the points; None: `publish` put all there.
            url: of a Qdrant server that has the points, or shall have those of a new index; default: where the index
                says, and for a new one the folder.
            collection: on that server; default: `products`.
            api_key: of the server; default: the environment's QDRANT_API_KEY.
            cache: a folder for vectors of pretrained encoders.
            ca_cert: certificates of the authorities that the server's is checked by, in PEM; default: the environment's
                QDRANT_CA_CERT, else those that everybody trusts. QDRANT_CLIENT_CERT and QDRANT_CLIENT_KEY are ours.
            progress: shows how far an operation is.

        Raises:
            IndexFolderError: what is there is damaged, or was made by a newer Rubrika.
            StoreError: the points cannot be opened, or the server cannot be reached.
        """
        index = cls(location_of(folder, url, collection, api_key, cache, ca_cert), progress)
        if has_index(index.at.folder):
            index._index()
        return index

    def ingest(
        self,
        products: "Source",
        images: Place | None = None,
        *,
        text_encoder: str | None = None,
        image_encoder: str | None = None,
        backend: Backend = "torch",
        pooling: Pooling | None = None,
        vote: Vote | None = None,
        image_url: str | None = None,
        rejects: Place | None = None,
        strict: bool = False,
        delete_missing: bool = False,
        rename: bool = False,
        verified: bool = False,
        by: str | None = None,
        group_by: str | None = None,
        columns: "ColumnNames" = None,
        path_separator: str | None = None,
        options: ServerOptions | None = None,
        adopt: bool = False,
        ray: Ray | None = None,
    ) -> IngestReport:
        """Put labelled products into the index, learning its encoder first when it is new.

        Args:
            products: the path of a table (parquet, CSV, JSON lines, Excel, a folder of them), a list of paths, or a
                table in memory (pandas, Polars, DuckDB, Arrow), with the columns of docs/data.md. An index remembers
                files, not tables in memory.
            images: the folder of their pictures, each named by its product_id.
            text_encoder: of a new index: `learned` (default), `rubert`, a model's name or folder.
            image_encoder: of a new index with pictures; default: the best that is installed.
            backend: runs a pretrained text encoder.
            pooling: of a pretrained text encoder: `pooler`, `mean` or `cls`; default: the model's own.
            vote: of a new index: whose neighbours vote.
            image_url: where the folder of pictures is served, for Qdrant's web UI.
            rejects: a parquet file for rejected rows, which are also in the report.
            strict: fail at the first row that would be rejected, and where a category has several names.
            delete_missing: delete products of which `products` has no row, good or bad.
            rename: allow that most categories get other names, which looks like another numbering of them.
            verified: a person set all categories of `products`: later ingests do not change them.
            by: the person who set those, and those of rows whose `label_source` is `person`; default: the user.
            group_by: a column whose equal values mark near duplicates, which calibration keeps together; by default
                those found by titles and texts.
            columns: how columns are called, where not as in docs/data.md: `{"id": "sku", "title": "name"}`.
            path_separator: what stands between the levels of a category's path, as `>`; default: found in the labels.
            options: how points on a server are laid out and searched.
            adopt: take up an empty collection that somebody made for this index, though the key cannot mark it.
            ray: have actors of Ray write to a server; `rejects` is a folder then, and the report does not list them.
        """
        made, note = self.at.folder, self._progress.note
        source = products_of(products, True, group_by, columns_of(columns, path_separator, made, True))
        pictures = pictures_of(images, source)
        choice = choice_of(text_encoder, image_encoder, backend, pooling, vote, pictures is not None, made, note)
        if rejects and not ray:
            check_outputs(source.files, self.at.folder, Path(rejects))
            check_table(Path(rejects))
        spread = inputs.spread_of(ray, source, Path(rejects or default_reject_path(made).with_suffix("")))
        self._note_unused(images)
        self.close()
        report = ingest(
            self.at.adopting(adopt),
            source,
            pictures=pictures,
            choice=choice,
            image_url=image_url,
            strict=strict,
            delete_missing=delete_missing,
            rename=rename,
            verified=verified,
            by=person_of(by),
            options=options,
            spread=spread,
            progress=self._progress,
        )
        if rejects and report.rejects and not ray:
            write_rejects(report.rejects, Path(rejects))
        return report

    def classify(
        self,
        products: "Source",
        images: Place | None = None,
        *,
        top_k: int | None = None,
        max_error: float = MAX_ERROR,
        confidence: float = CONFIDENCE,
        new_rate: float = NEW_RATE,
        include_self: bool = False,
        exact: bool = False,
        columns: "ColumnNames" = None,
    ) -> Predictions:
        """Predict the category of every product, in memory: some 400 bytes a product.

        `products` are as for `ingest`; labels are not needed. One that is stored, by its id, has no vote on itself,
        unless `include_self`. `exact` compares with every stored product, by no graph and no quantised vectors.
        """
        count, policy = count_of("top_k", top_k), policy_of(max_error, confidence, new_rate)
        source = products_of(products, labelled=False, columns=columns_of(columns, None, self.at.folder))
        source.check()
        index = self._index(exact)
        vote = replace(index.manifest.vote, top_k=count or index.manifest.vote.top_k)
        batches = classify(index, source, pictures_of(images, source), count, policy, include_self=include_self)
        owned = Owned.of(index)
        found = collect(batches, index.manifest.calibration, vote, owned.labels)
        hits = (id for each in found.hits.values() for id in np.unique(each.ids[np.isfinite(each.scores)]).tolist())
        return replace(found, own_ids=owned.products(hits)) if owned.text_ids else found

    def classify_file(
        self,
        file: Place,
        output: Place = "result.parquet",
        images: Place | None = None,
        *,
        details: Place | None = None,
        rejects: Place | None = None,
        top_k: int | None = None,
        max_error: float = MAX_ERROR,
        confidence: float = CONFIDENCE,
        new_rate: float = NEW_RATE,
        level: int | None = None,
        include_self: bool = False,
        monitor: Place | None = None,
        exact: bool = False,
        columns: "ColumnNames" = None,
        ray: Ray | None = None,
    ) -> ClassifyReport:
        """Predict the category of every product of a table, batch by batch.

        Predictions go to `output`, one row an input row in its order; confidence, alternatives and neighbours to
        `details`; unreadable rows to `rejects`, by default beside `output`. `level` predicts at that level of the
        tree, 1 being the top, not the leaf. `include_self` and `exact` are as for `classify`. A line about the run is
        appended to the file `monitor`, for `info`. With `ray`, actors write folders of parquet files, not files.
        """
        count, policy = count_of("top_k", top_k), policy_of(max_error, confidence, new_rate)
        reader = Reader(paths_of(file), labelled=False, columns=columns_of(columns, None, self.at.folder))
        reader.check()
        to = Outputs.of(output, details, rejects, monitor, bool(ray))
        to.check(reader.files, self.at.folder, level is not None or count is not None or include_self)
        self._note_unused(images)
        index, pictures = self._index(exact), pictures_of(images, reader)
        check_level(index, level)
        if pictures and IMAGE in index.manifest.vectors and (without := unmatched(pictures, reader)):
            self._progress.note(without)
        ways = reader, to, pictures, count, policy, level, include_self
        if ray:
            report = classify_on_ray(index, *ways, ray, self._progress)
        else:
            report = classify_to_files(index, *ways, self._progress)
        self._advise(report.advice)
        if to.runs:
            append_run(to.runs, reader.files[0], report.figures, report.rejected, policy, index.manifest)
        return report

    def neighbours(
        self,
        product_id: int | str | None = None,
        *,
        title: str | None = None,
        image: Place | bytes | None = None,
        top_k: int = 10,
        vector: str | None = None,
        page: bool = False,
        exact: bool = False,
    ) -> Neighbours:
        """The labelled products most like one, best first; a stored product itself is left out.

        Give one of `product_id`, `title` and `image`, a picture or its path. They are compared by the named `vector`
        text, image or joint, by default image for a picture, else text. With `page`, the result also says where the
        server's web UI shows them.
        """
        query, count = inputs.query_of(product_id, title, image), count_of("top_k", top_k) or 1
        found = neighbours(self._index(exact), query, vector, count, str(product_id or ""))
        shown = query if isinstance(query, int) else None
        return replace(found, page=self._index().dashboard(shown)) if page else found

    def explain(
        self,
        product_id: int | str | None = None,
        *,
        title: str | None = None,
        image: Place | bytes | None = None,
        top_k: int | None = None,
    ) -> Explanation:
        """What a prediction rests on: the vote, the supporting neighbours, and the words that mattered.

        Give the `product_id` of a stored product, or the `title` of any, its picture or its path as `image`, or both.
        """
        if (product_id is None) == (title is None and image is None):
            raise ParameterError("give `product_id`, or `title` and `image`, one of them or both")
        count, index = count_of("top_k", top_k), self._index()
        if product_id is not None:
            query = Query.of_product(index, inputs.product_id_of(product_id), own_id=str(product_id))
            return explain(index, query, count)
        picture = None if image is None else inputs.picture_of(image)
        return explain(index, Query.of_content(index, title or "", picture), count)

    def audit(
        self,
        output: Place = "audit.parquet",
        duplicates: Place | None = None,
        limit: int = 20,
        *,
        files: "Files" = (),
        min_confidence: float = 0.0,
    ) -> AuditReport:
        """Find labels that are probably wrong, the surest first, by encoders that are learned without them.

        Those whose `confidence`, how likely the label is wrong, is at least `min_confidence` go to `output`, near
        duplicates with different categories to `duplicates`: each in the format that its name ends in. The first
        `limit` rows of both are in the report. `files` are where the products' texts are, by default those ingested.
        """
        if not 0 <= min_confidence <= 1:
            raise ParameterError(f"`min_confidence` is a probability from 0 to 1, not {min_confidence}")
        pairs, places = None if duplicates is None else Path(duplicates), paths_of(files) if files else ()
        check_outputs(places, self.at.folder, Path(output), pairs)
        return write_audit(self._index(), Path(output), pairs, limit, places, min_confidence, self._progress)

    @staticmethod
    def decide(
        details: Place, max_error: float = MAX_ERROR, output: Place | None = None, *, confidence: float = CONFIDENCE
    ) -> dict[str, int]:
        """Decide anew, at another maximum error rate, which predictions of a details file are automatic.

        It goes to `output`, by default in place of `details`. Returns how many products got each decision.
        """
        return dict(sorted(redecide(Path(details), Path(output or details), policy_of(max_error, confidence)).items()))

    @staticmethod
    def evaluate(
        files: "Files",
        images: Place | None = None,
        *,
        text_encoder: str | None = None,
        image_encoder: str | None = None,
        backend: Backend = "torch",
        pooling: Pooling | None = None,
        vote: Vote | None = None,
        holdout: float = 0.1,
        group_by: str | None = None,
        stratify: bool = False,
        top_k: int | None = None,
        max_error: float = MAX_ERROR,
        confidence: float = CONFIDENCE,
        new_rate: float = NEW_RATE,
        seed: int = 0,
        methods: str | None = None,
        protocol: str | None = None,
        report: Place | None = None,
        url: str | None = None,
        collection: str | None = None,
        api_key: str | None = None,
        cache: Place = CACHE,
        ca_cert: Place | None = None,
        progress: Progress | None = None,
        columns: "ColumnNames" = None,
        path_separator: str | None = None,
    ) -> "Evaluation":
        """How good predictions are: holds products out, learns from the others, and classifies those held out.

        `stratify` holds out the same part of every category. `methods` are other methods to compare with: `all`, or
        names separated by commas. `protocol` measures as another study did: `kazanexpress`. `report` is a folder for a
        page with charts. With `url`, a server has the points meanwhile, in a collection that is deleted in the end and
        whose name begins with `collection`. The rest is as for `open` and `ingest`.
        """
        from rubrika.eval.evaluate import evaluate, rules_of
        from rubrika.eval.heldout import Setting, Timer
        from rubrika.eval.methods import chosen_methods
        from rubrika.report.report import report_on
        from rubrika.report.study import MAPPED

        progress = progress or Silent()
        at = location_of("", url, collection or ("rubrika" if url else None), api_key, cache, ca_cert)
        names = chosen_methods(methods) if methods is not None else ()
        # Before the work: a folder that cannot be written is known at once.
        folder = report_folder(Path(report)) if report else None
        timer, given = Timer(memory=report is not None), columns_of(columns, path_separator)
        reader = Reader(paths_of(files), labelled=True, group_by=group_by, columns=given)
        pictures = pictures_of(images, reader)
        choice = choice_of(text_encoder, image_encoder, backend, pooling, vote, bool(pictures), None, progress.note)
        count, rules, seed = count_of("top_k", top_k), rules_of(protocol), inputs.seed_of(seed)
        setting = Setting(reader, at.cache, pictures, choice, holdout, seed, progress, timer, stratify, at.server)
        policy, sampled = policy_of(max_error, confidence, new_rate), MAPPED if folder else None
        result = evaluate(setting, top_k=count, policy=policy, sampled=sampled, methods=names, rules=rules)
        if result.advice:
            progress.note(result.advice)
        report_on(result, folder, timer, reader, pictures, progress)
        return result

    def evaluate_live(
        self,
        files: "Files",
        images: Place | None = None,
        *,
        group_by: str | None = None,
        top_k: int | None = None,
        max_error: float = MAX_ERROR,
        confidence: float = CONFIDENCE,
        new_rate: float = NEW_RATE,
        seed: int = 0,
        report: Place | None = None,
        exact: bool = False,
        columns: "ColumnNames" = None,
    ) -> "Evaluation":
        """How good the predictions of this index are, as it is, for other labelled products: nothing is learned.

        Rows alike in the column `group_by` are drawn together for the interval; `report` is as for `evaluate`.
        """
        from rubrika.eval.heldout import Timer
        from rubrika.eval.live import Gold, evaluate_live, remarks_on
        from rubrika.report.report import report_on
        from rubrika.report.study import MAPPED

        folder = report_folder(Path(report)) if report else None
        self._note_unused(images)
        count, policy = count_of("top_k", top_k), policy_of(max_error, confidence, new_rate)
        names, timer = columns_of(columns, None, self.at.folder, True), Timer(memory=report is not None)
        reader = Reader(paths_of(files), labelled=True, group_by=group_by, columns=names)
        gold = Gold(reader, pictures_of(images, reader), inputs.seed_of(seed), MAPPED if folder else None)
        result = evaluate_live(self._index(exact), gold, count, policy, self._progress, timer)
        self._advise(result.advice)
        for remark in remarks_on(result, reader, self.at.folder):
            self._progress.note(remark)
        report_on(result, folder, timer, reader, gold.pictures, self._progress)
        return result

    def tune(
        self,
        files: "Files",
        images: Place | None = None,
        *,
        holdout: float = 0.1,
        group_by: str | None = None,
        max_error: float = MAX_ERROR,
        confidence: float = CONFIDENCE,
        new_rate: float = NEW_RATE,
        seed: int = 0,
        columns: "ColumnNames" = None,
    ) -> "Tuned":
        """Choose on held-out products how the index votes and when it is sure, and keep both in the index.

        `images` are needed when the index has picture vectors.
        """
        from rubrika.eval.heldout import Setting
        from rubrika.eval.tune import tune

        folder, policy = self.at.folder, policy_of(max_error, confidence, new_rate)
        manifest, names = Manifest.read(folder), columns_of(columns, None, folder)
        reader = Reader(paths_of(files), labelled=True, group_by=group_by, columns=names)
        pictures = pictures_of(images, reader)
        if IMAGE in manifest.vectors and pictures is None:
            raise ParameterError(f"{folder} has picture vectors: say with `images` where the pictures are")
        self.close()
        with writing(folder, "tune"):
            choice = Choice.of(manifest)
            setting = Setting(reader, self.at.cache, pictures, choice, holdout, inputs.seed_of(seed), self._progress)
            result = tune(setting, manifest.vote, policy)
            manifest = Manifest.read(folder)
            tuned = refitted(folder, result.voting(manifest), result.asked, result.tree)
            write_manifest(self.at, tuned)
        result = replace(result, advice=advice(tuned.calibration, policy))
        self._advise(result.advice)
        return result

    def learn(self, files: "Files" = ()) -> Relearned:
        """Learn the encoders again from all products in the index, and switch over when that has succeeded.

        `files` are where the products' texts are, by default those that were ingested.
        """
        self.close()
        return relearn(self.at, paths_of(files) if files else (), progress=self._progress)

    def delete(self, products: "int | Place | Sequence[int | Place]") -> Deleted:
        """Delete `products`: product ids, or those in parquet files with a column product_id."""
        ids = inputs.ids_of(products)
        self.close()
        return delete(self.at, ids)

    def relabel(
        self, source: int | Place, target: int | str | None = None, path: str | None = None, *, by: str | None = None
    ) -> Relabelled:
        """Move all products of a category to another one, both named by id or label; with the same twice, rename it.

        `path` is the full path of the target, when it is new or gets another name. Or `source` is a table and there is
        no target: with the columns product_id and category_id it has labels as for `correct`, with from and to
        categories to move. It is checked whole before anything is changed.
        """
        person = person_of(by)
        self.close()
        folder = self.at.folder
        if target is not None and not isinstance(source, PathLike):
            ids = inputs.category_id_of("source", source, folder), inputs.category_id_of("target", target, folder)
            return relabel(self.at, *ids, path)
        if not isinstance(source, str | PathLike):
            raise ParameterError("`target` is the category that the products get; give it")
        if target is not None or path is not None:
            raise ParameterError("a file says all itself; leave the category and `path` out")
        return relabel_from(self.at, Path(source), person)

    def correct(
        self, labels: Mapping[int | str, int | str | None], path: str | None = None, *, by: str | None = None
    ) -> Relabelled:
        """Set the categories of products, both by id, as a person does, so that no later ingest undoes it.

        None is the category that a product has: it is right, and `audit` does not ask about it again. `path` names the
        category, all labels being of one, when it has no name yet; `by` is the person, by default the user.
        """
        person, given = person_of(by), inputs.labels_of(labels, self.at.folder)
        self.close()
        return correct(self.at, given, path, person)

    def categories(self, file: Place | None = None, *, rename: bool = False) -> Categories:
        """All categories with their numbers of products, also those that have none.

        Or add those of a table of category_id and category_name, the full path, before there are
        products of them; those known get these names. `rename` is as for `ingest`.
        """
        if file is None:
            return list_categories(self._index())
        self.close()
        return name_categories(self.at, Path(file), rename, self._progress)

    def check(self, files: "Files" = (), images: Place | None = None, *, repair: bool = False) -> Checked:
        """Read the whole index, compare it with the files that were ingested or with others, and list its problems.

        With `repair`, what is damaged is written anew from those files and `images`. A server named as `url` is looked
        at too, or alone when the index is not there: what it is, what the key may do, and what to do about it.
        """
        self.close()
        return check(self.at, paths_of(files) if files else (), pictures_of(images), repair)

    def push(
        self,
        url: str,
        collection: str | None = None,
        *,
        options: ServerOptions | None = None,
        alias: str | None = None,
        adopt: bool = False,
    ) -> Moved:
        """Move the points to a Qdrant server; run it again if it was interrupted, or to search otherwise.

        The collection is by default `products`; `options` say how a new one is laid out, and how it is searched from
        now on; `alias` is a second name, switched to the collection once all products are there; `adopt` is as for
        `ingest`.
        """
        self.close()
        at = self.at
        at = location_of(at.folder, url, collection, at.api_key, at.cache, at.transport.ca_cert, adopt)
        return move_index(at, self._progress, options, alias)

    def pull(self) -> Moved:
        """Bring the points back from the server into the folder."""
        self.close()
        return move_index(replace(self.at, server=None), self._progress)

    def publish(self) -> Published:
        """Store manifest and encoders on the server too, now and after every change, for `open` without a folder."""
        self.close()
        return publish_index(self.at)

    def rollback(self) -> RolledBack:
        """Go back to the encoder before the last `learn` of a published index, and its points, in one switch."""
        self.close()
        return rollback(self.at)

    def info(self, drift: Place | None = None, runs: int = RUNS) -> Info:
        """What is in the index: products, categories, vectors, how they vote, and how far it can be trusted.

        With `drift`, also how far the last `runs` of that file, which `classify_file` appends to as `monitor`, are from
        the products that the index was calibrated on.
        """
        return info_of(self._index(), None if drift is None else Path(drift), count_of("runs", runs, math.inf) or RUNS)

    def export(
        self,
        encoder: Place | None = None,
        embeddings: Place | None = None,
        *,
        vector: str | Sequence[str] = TEXT,
        neighbours: int = 10,
    ) -> Exported:
        """Write the learned text encoder as a folder of sentence-transformers, the vectors of all products, or both.

        The file `embeddings`, parquet, has a row a product, with its named `vector` or several, and its `neighbours`
        nearest by the first of them, found exactly; 0 leaves them out.
        """
        return export(self._index(), encoder, embeddings, vector, neighbours, self._progress)

    def opened(self) -> Opened:
        """The open index itself, for what is built on it, such as the HTTP service."""
        return self._index()

    def close(self) -> None:
        """Let go of what was opened; the next call sees what has changed since."""
        if self._opened is not None:
            self._opened.store.close()
            self._opened = None

    def __repr__(self) -> str:
        return f"Index.open({str(self.at.folder)!r})"

    def __enter__(self) -> "Index":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _advise(self, advice: str | None) -> None:
        if advice:
            self._progress.note(f"{self.at.folder}: {advice}")

    def _note_unused(self, images: Place | None) -> None:
        folder = self.at.folder
        if images and has_index(folder) and IMAGE not in Manifest.read(folder).vectors:
            reason = "this index has no image vector, so pictures are not used"
            self._progress.note(f"{folder}: {reason}; ingest into a new folder")

    def _index(self, exact: bool = False) -> Opened:
        if self._opened is None:
            self._opened = Opened.open(self.at)
        self._opened.store.exact = exact
        return self._opened
