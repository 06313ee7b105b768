BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0001');
CREATE TABLE chunks (
	"row" INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	collection_id INTEGER NOT NULL, 
	document_id VARCHAR(32) NOT NULL, 
	version_id INTEGER NOT NULL, 
	created_seq INTEGER NOT NULL, 
	retired_seq INTEGER, 
	id VARCHAR(32) NOT NULL, 
	text_hash BLOB NOT NULL, 
	start INTEGER NOT NULL, 
	"end" INTEGER NOT NULL, 
	page INTEGER, 
	heading_path TEXT NOT NULL, 
	context TEXT NOT NULL, 
	text TEXT NOT NULL, 
	CONSTRAINT fk_chunks_collection_id FOREIGN KEY(collection_id) REFERENCES collections (id) ON DELETE CASCADE, 
	CONSTRAINT fk_chunks_document_id FOREIGN KEY(document_id) REFERENCES documents (id) ON DELETE CASCADE, 
	CONSTRAINT fk_chunks_version_id FOREIGN KEY(version_id) REFERENCES document_versions (id) ON DELETE CASCADE
);
INSERT INTO "chunks" VALUES(1,1,'6874c17583b524f7b7f5a2c966208134',1,1,NULL,'ffcbcf1e37e30d58f15c3ed00027c5df',X'894D0FE77FD9735E311F3AC6F5B4A2D5A1FBA67030B950362AAD914106946730',0,81,NULL,'["Gear pump"]','','# Gear pump

## Torque

The casing bolts of the gear pump are tightened to 42 Nm.');
INSERT INTO "chunks" VALUES(2,1,'2794637b948d144b8a34343cd48e7678',2,2,NULL,'c3bb026ae031475dd0325faa42ee2d1d',X'C9741D88933663A2297444286B5C2A4DC9F15D1E8599FF9F51DD80BD658E00D2',0,66,NULL,'["Valve"]','','# Valve

The shaft seal of the valve is replaced every 4000 hours.');
CREATE TABLE collections (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	tenant_id INTEGER NOT NULL, 
	name VARCHAR(64) NOT NULL, 
	embedder VARCHAR NOT NULL, 
	embedding_model VARCHAR NOT NULL, 
	dimension INTEGER NOT NULL, 
	analyzer VARCHAR NOT NULL, 
	last_seq INTEGER NOT NULL, 
	published_seq INTEGER NOT NULL, 
	created_at VARCHAR NOT NULL, 
	CONSTRAINT fk_collections_tenant_id FOREIGN KEY(tenant_id) REFERENCES tenants (id), 
	CONSTRAINT uq_collections_tenant_id_name UNIQUE (tenant_id, name)
);
INSERT INTO "collections" VALUES(1,1,'default','fake-embedder-1','fake-embedder',64,'domainqa-analyzer-1/snowball-3.1.1',2,2,'2026-11-24T11:28:51+00:00');
CREATE TABLE document_versions (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	document_id VARCHAR(32) NOT NULL, 
	version VARCHAR(64) NOT NULL, 
	parser VARCHAR NOT NULL, 
	processing VARCHAR NOT NULL, 
	created_seq INTEGER NOT NULL, 
	retired_seq INTEGER, 
	title VARCHAR NOT NULL, 
	language VARCHAR(16), 
	media_type VARCHAR NOT NULL, 
	date VARCHAR(32), 
	size_bytes INTEGER NOT NULL, 
	updated_at VARCHAR NOT NULL, 
	page_count INTEGER, 
	sections TEXT NOT NULL, 
	pages TEXT NOT NULL, 
	tables TEXT NOT NULL, 
	text TEXT NOT NULL, 
	CONSTRAINT fk_document_versions_document_id FOREIGN KEY(document_id) REFERENCES documents (id) ON DELETE CASCADE
);
INSERT INTO "document_versions" VALUES(1,'6874c17583b524f7b7f5a2c966208134','ee688a6f1d256aff2e051e1cda448c0e9e5e5e42b1bbcd48f831188106998071','documents 1, kreuzberg 4.10.4','b06e37044d2d060c/fake-embedder-1',1,NULL,'Gear pump','en','text/markdown',NULL,82,'2026-11-24T11:28:54+00:00',NULL,'[{"heading_path":["Gear pump"],"start":0,"end":13},{"heading_path":["Gear pump","Torque"],"start":13,"end":82}]','[]','[]','# Gear pump

## Torque

The casing bolts of the gear pump are tightened to 42 Nm.
');
INSERT INTO "document_versions" VALUES(2,'2794637b948d144b8a34343cd48e7678','80a6441177b7b9b73ce4b35c5208d67d27fe60ad3139ed3f5c0cbe35a91c5819','documents 1, kreuzberg 4.10.4','b06e37044d2d060c/fake-embedder-1',2,NULL,'Valve','en','text/markdown',NULL,67,'2026-11-24T11:28:54+00:00',NULL,'[{"heading_path":["Valve"],"start":0,"end":67}]','[]','[]','# Valve

The shaft seal of the valve is replaced every 4000 hours.
');
CREATE TABLE documents (
	id VARCHAR(32) NOT NULL, 
	collection_id INTEGER NOT NULL, 
	source VARCHAR NOT NULL, 
	location VARCHAR NOT NULL, 
	CONSTRAINT pk_documents PRIMARY KEY (id), 
	CONSTRAINT fk_documents_collection_id FOREIGN KEY(collection_id) REFERENCES collections (id) ON DELETE CASCADE, 
	CONSTRAINT uq_documents_collection_id_source UNIQUE (collection_id, source)
);
INSERT INTO "documents" VALUES('6874c17583b524f7b7f5a2c966208134',1,'pump.md','/documents/pump.md');
INSERT INTO "documents" VALUES('2794637b948d144b8a34343cd48e7678',1,'valve.md','/documents/valve.md');
CREATE TABLE failures (
	collection_id INTEGER NOT NULL, 
	source VARCHAR NOT NULL, 
	reason VARCHAR NOT NULL, 
	version VARCHAR(64), 
	CONSTRAINT pk_failures PRIMARY KEY (collection_id, source), 
	CONSTRAINT fk_failures_collection_id FOREIGN KEY(collection_id) REFERENCES collections (id) ON DELETE CASCADE
);
INSERT INTO "failures" VALUES(1,'empty.txt','the file is empty (0 bytes)','e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');
CREATE TABLE tenants (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	name VARCHAR(64) NOT NULL, 
	CONSTRAINT uq_tenants_name UNIQUE (name)
);
INSERT INTO "tenants" VALUES(1,'default');
CREATE TABLE vectors (
	id INTEGER NOT NULL, 
	text_hash BLOB NOT NULL, 
	embedder VARCHAR NOT NULL, 
	vector BLOB NOT NULL, 
	CONSTRAINT pk_vectors PRIMARY KEY (id), 
	CONSTRAINT uq_vectors_text_hash_embedder UNIQUE (text_hash, embedder)
);
INSERT INTO "vectors" VALUES(1,X'894D0FE77FD9735E311F3AC6F5B4A2D5A1FBA67030B950362AAD914106946730','fake-embedder-1',X'00000000000000006C162D3E000000006C162D3E0000000000000000000000006C162D3E0000000000000000000000006C162D3E00000000000000000000000000000000000000000000000000000000000000006C162D3E00000000000000000000000000000000000000006C16AD3E0000000000000000000000000000000000000000000000000000000000000000000000006C162D3ED1D0013F0000000000000000000000000000000000000000000000006C16AD3E00000000000000000000000000000000000000006C162D3E0000000000000000000000000000000000000000000000006C162D3E000000006C162D3E0000000000000000D1D0013F');
INSERT INTO "vectors" VALUES(2,X'C9741D88933663A2297444286B5C2A4DC9F15D1E8599FF9F51DD80BD658E00D2','fake-embedder-1',X'00000000000000004A515A3E000000000000000000000000000000004A515A3E00000000000000000000000000000000000000004A515A3E0000000000000000000000000000000000000000000000000000000000000000000000004A515A3E000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000004A515A3E4A51DA3E0000000000000000000000000000000000000000000000000000000000000000000000004A515A3E000000000000000000000000000000000000000000000000F7BC233F00000000000000004A515A3E00000000000000004A515A3E000000004A515A3E');
CREATE INDEX ix_document_versions_document_id ON document_versions (document_id);
CREATE UNIQUE INDEX uq_document_versions_current ON document_versions (document_id) WHERE retired_seq IS NULL;
CREATE INDEX ix_chunks_collection_id_created_seq_retired_seq ON chunks (collection_id, created_seq, retired_seq);
CREATE INDEX ix_chunks_document_id ON chunks (document_id);
CREATE INDEX ix_chunks_version_id ON chunks (version_id);
CREATE INDEX ix_chunks_text_hash ON chunks (text_hash);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('tenants',1);
INSERT INTO "sqlite_sequence" VALUES('collections',1);
INSERT INTO "sqlite_sequence" VALUES('document_versions',2);
INSERT INTO "sqlite_sequence" VALUES('chunks',2);
COMMIT;
