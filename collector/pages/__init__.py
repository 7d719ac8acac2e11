"""What people see of the collection: a live page, a page of absences, a small read-only API, a stream of events.

What lives here: the application, who may ask it (`guard`), what is new (`live`, `events`), and the page's own files.

What must not: anything that writes to the database, decides what counts, or loads a file from elsewhere.
"""
