"""What the collection keeps.

What lives here: the tables, their migrations, the engine, the writer's queries (`records`, `standing`) and the readers'
queries (`ratings`, `condition`). SQL is SQLAlchemy Core and portable; times are integers, UTC milliseconds.

What must not: rules about messages, signatures or chains (see ingest), and a second writer.
"""
